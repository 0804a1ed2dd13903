import type { Epoch } from '../domain/dataset.ts'

/** The high part of an epoch is the store's term: after a `vol recover` every new epoch outranks every old one. */
const termFactor = 2 ** 32

/** Terms that fit, with their epochs, into whole numbers that JavaScript keeps exactly. */
export const maxTerm = 2 ** 20

/** The next number above all that were used, within the term. */
export const nextEpoch = (term: number, above: Epoch): Epoch => Math.max(above, term * termFactor) + 1

/** The epoch that a new volume begins with. */
export const firstEpoch = (term: number): Epoch => nextEpoch(term, 0)

export const termOf = (epoch: Epoch): number => Math.floor(epoch / termFactor)
