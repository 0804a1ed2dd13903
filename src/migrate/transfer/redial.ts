import type { DroverError } from '../../domain/errors.ts'
import { asStreamFailure, isLost, isRefused, isStranger, linkLost } from './failure.ts'
import type { Task } from './task.ts'

/** A session that has no link for so long is given up. */
export const defaultPatienceMs = 60_000
/** The receiver waits a little longer: of the two, the sender has the more to tell. */
export const receiverGraceMs = 5_000

const waits = { firstMs: 100, mostMs: 2_000 }
/** So many links in a row over which nothing came: something between the two cuts them all. */
const mostFruitless = 60
/** Nobody listens on the port for this share of the patience: it was no filter, the other `vold` is gone. */
const refusedShare = 0.25

/** Links of one sender, one after the other. */
export interface Redial<L> {
  /** @throws STREAM_FAILED when that is of no use any more; `lost` when it took too long */
  next(): Promise<{ link: L; number: number }>
  /** The last one broke. @param heardAt monotonic time of its last sign of life @param progress whether the peer had more after it than before */
  broke(why: DroverError, heardAt: number, progress: boolean): void
  /** The one that was being made when the session was called off; null: there was none, or it does not come in time. */
  late(waitMs: number): Promise<{ link: L; number: number } | null>
}

export const createRedial = <L>(
  open: (number: number) => Promise<L>,
  { clock, aborted }: Pick<Task, 'clock' | 'aborted'>,
  patienceMs: number,
): Redial<L> => {
  let number = 0
  let isFirst = true
  let lastHeard = clock.monotonic()
  let refusedSince: number | null = null
  let fruitless = 0
  let why: DroverError | null = null
  let opening: Promise<L> | null = null

  /** Throws unless another try is of use. */
  const judge = (error: unknown): DroverError => {
    const failure = asStreamFailure(error, 'no link')
    const now = clock.monotonic()
    refusedSince = isRefused(error) ? (refusedSince ?? now) : null
    const mayPass = isLost(error) || (!isFirst && (isStranger(error) || isRefused(error)))
    if (!mayPass) throw failure
    const refusedMs = refusedSince === null ? 0 : now - refusedSince
    if (now - lastHeard < patienceMs && refusedMs < patienceMs * refusedShare && fruitless < mostFruitless)
      return failure
    const first = why === null ? '' : `${why.message}; `
    throw linkLost(`${first}no other link within ${Math.round((now - lastHeard) / 1000)} s: ${failure.message}`)
  }
  return {
    async next() {
      for (let tries = fruitless; ; tries += 1) {
        if (tries > 0) {
          const waitMs = Math.min(waits.firstMs * 2 ** Math.min(tries - 1, 10), waits.mostMs)
          await Promise.race([clock.sleep(waitMs), aborted])
        }
        number += 1
        try {
          opening = open(number)
          const link = await Promise.race([opening, aborted])
          opening = null
          isFirst = false
          return { link, number }
        } catch (error) {
          judge(error)
        }
      }
    },
    broke(error, heardAt, progress) {
      why = error
      lastHeard = Math.max(lastHeard, heardAt)
      fruitless = progress ? 0 : fruitless + 1
    },
    async late(waitMs) {
      const link = await Promise.race([opening?.catch(() => null) ?? null, clock.sleep(waitMs).then(() => null)])
      return link === null ? null : { link, number }
    },
  }
}
