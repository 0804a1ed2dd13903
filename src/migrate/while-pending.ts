import { asDroverError, hasCode } from '../domain/errors.ts'
import type { MoveContext } from './move-context.ts'

/** The writers are stopped meanwhile; before that it may take what it takes, for the move can be cancelled. */
const finalPatienceMs = 15 * 60_000
const askAgainMs = 250

/**
 * What a host has begun and its storage has not ended (a cloud takes its time for snapshots, and for copies of them) is asked for again until it has; it is
 * told as what the move waits for. Each call waits a while itself.
 */
export const whilePending = async <T>(context: MoveContext, final: boolean, work: () => Promise<T>): Promise<T> => {
  const { move, parts, signal } = context
  const { clock, progress } = parts
  const startedAt = clock.monotonic()
  let isTold = false
  try {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (!isPending(error) || (final && clock.monotonic() - startedAt > finalPatienceMs)) throw error
        progress.wait(move.id, asDroverError(error).message)
        isTold = true
      }
      await clock.sleep(askAgainMs, signal)
    }
  } finally {
    if (isTold) progress.wait(move.id, null)
  }
}

const isPending = (error: unknown): boolean =>
  hasCode(error, 'TIMED_OUT') && asDroverError(error).details.pending === true
