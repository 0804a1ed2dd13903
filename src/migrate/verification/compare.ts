import type { Difference } from '../../domain/verification.ts'
import { type Traits, traitNames } from '../../lib/tree-digest/traits.ts'
import type { ItemView } from './tree-digests.ts'

/** Names in one chunk, as a host has them. */
export interface Listing {
  readonly host: string
  readonly items: readonly ItemView[]
  /** Nothing comes after the last of them. */
  readonly isEnd: boolean
}

/** Traits that tell a person something as they are; the others are digests. */
const told: readonly (keyof Traits)[] = ['type', 'mode', 'owner', 'size', 'mtime', 'device']

/** What is not alike in two chunks that start at the same place; pure. */
export const differencesOf = (one: Listing, other: Listing): Difference[] => {
  const found = new Map<string, Difference>()
  const note = ({ shown }: ItemView, what: string) => {
    const before = found.get(shown)?.what
    if (before?.split('; ').includes(what)) return
    found.set(shown, { path: shown, what: before === undefined ? what : `${before}; ${what}` })
  }
  let [left, right] = [0, 0]
  for (;;) {
    const mine = one.items[left]
    const theirs = other.items[right]
    // Beyond the end of a chunk that others follow nothing is known of that side.
    if (mine === undefined && (theirs === undefined || !one.isEnd)) break
    if (theirs === undefined && !other.isEnd) break
    const order = mine === undefined ? 1 : theirs === undefined ? -1 : inOrder(mine, theirs)
    if (order <= 0) left += 1
    if (order >= 0) right += 1
    if (order < 0 && mine !== undefined) note(mine, mine.segment === 0 ? `only on ${one.host}` : 'size')
    else if (order > 0 && theirs !== undefined) note(theirs, theirs.segment === 0 ? `only on ${other.host}` : 'size')
    else if (mine !== undefined && theirs !== undefined) {
      for (const what of unlike(one.host, mine, other.host, theirs)) note(mine, what)
    }
  }
  return [...found.values()]
}

const unlike = (host: string, mine: ItemView, otherHost: string, theirs: ItemView): string[] => {
  const traits = traitNames
    .filter((name) => mine.traits[name] !== theirs.traits[name])
    .map((name) =>
      told.includes(name)
        ? `${name} ${mine.traits[name] || 'none'} on ${host}, ${theirs.traits[name] || 'none'} on ${otherHost}`
        : name,
    )
  const bytes = mine.content !== theirs.content || mine.error !== theirs.error ? ['bytes'] : []
  return [...traits, ...bytes]
}

/** As the walk goes: a directory before what is in it, names by their bytes. NUL is in no name, and before all others. */
const inOrder = (one: ItemView, other: ItemView): number => {
  const byPath = Buffer.compare(keyOf(one), keyOf(other))
  return byPath === 0 ? one.segment - other.segment : byPath
}

const keyOf = ({ path }: ItemView): Buffer =>
  Buffer.from(Buffer.from(path, 'base64').map((byte) => (byte === 0x2f ? 0 : byte)))
