import { asDroverError, hasCode } from '../domain/errors.ts'
import { eventData, type MoveContext } from './move-context.ts'

/** The writers are stopped meanwhile. A move with a limit of downtime does not wait for longer than that either. */
const busyPatienceMs = 15_000
const askAgainMs = 250

/**
 * Does what fails while somebody keeps the volume busy, again and again until they have let go or the move may wait no longer. Who
 * is waited for is an event, and stands in the move's progress. Any moment of it can be cancelled.
 * @throws VOLUME_BUSY naming every holder
 */
export const whileBusy = async <T>(context: MoveContext, work: () => Promise<T>): Promise<T> => {
  const { parts, move, signal } = context
  const { clock, progress } = parts
  const deadline = clock.monotonic() + Math.min(busyPatienceMs, move.request.maxDowntimeMs ?? busyPatienceMs)
  let told = ''
  try {
    for (;;) {
      try {
        return await work()
      } catch (error) {
        if (!hasCode(error, 'VOLUME_BUSY') || clock.monotonic() > deadline) throw error
        const { message, details } = asDroverError(error)
        progress.wait(move.id, message)
        if (told !== message) await parts.emit('move.waiting', eventData(context, { reason: message, ...details }))
        told = message
      }
      await clock.sleep(askAgainMs, signal)
    }
  } finally {
    progress.wait(move.id, null)
  }
}
