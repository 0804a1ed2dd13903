import { asDroverError, DroverError } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import type { JournalNote, MoveCommand } from './agent.ts'
import type { MoveJournal } from './move-journal.ts'
import { asSource, asTarget } from './sides.ts'

/**
 * Drops the journals of moves that have ended here by the record's word: a crash came between the two. With no record left, a target
 * has removed what it refused; what a source journaled then stays, for nothing says what became of its containers.
 */
export const dropEndedJournals = async (host: VolumeHost, journal: MoveJournal): Promise<void> => {
  for (const { side, command } of await journal.all()) {
    const { volumeId, volumeName, moveId, returnEpoch } = command
    try {
      const seen = asSide(host, side, command)
      await host.locks.run(volumeId, async () => {
        const held = await seen.held(volumeId)
        if (side === 'carried') {
          if (!isAwaited(held, moveId)) await journal.drop(moveId, side)
          return
        }
        const hasEnded = held === null ? side === 'target' : held.record.endedMoves.includes(moveId)
        if (!hasEnded) return
        await seen.epochs.record(volumeId, returnEpoch, moveId)
        await journal.drop(moveId, side)
      })
    } catch (error) {
      const reason = asDroverError(error).message
      host.logger.warn({ move: moveId, volume: volumeName, reason }, 'the journal of an ended move is kept for now')
    }
  }
}

const asSide = (host: VolumeHost, side: JournalNote['side'], command: MoveCommand): VolumeHost =>
  side === 'source' ? asSource(host, command) : asTarget(host, command)

/** A move that is to be taken back was the last that ended here, or is just ending, and the volume is here still. */
const isAwaited = (held: Held | null, moveId: MoveId): boolean => {
  if (held === null || held.record.role === 'replica') return false
  const { moveId: open, endedMoves } = held.record
  return open === moveId || endedMoves.at(-1) === moveId
}

/** @throws STALE_EPOCH when nothing on this host says that the move has ended */
export const dropEndedJournal = (host: VolumeHost, journal: MoveJournal, note: JournalNote): Promise<void> => {
  const { side, command } = note
  const { volumeId, moveId } = command
  const seen = asSide(host, side, command)
  return host.locks.run(volumeId, async () => {
    const held = await seen.held(volumeId)
    const record = held?.record
    // What was carried is kept for a move that may be taken back.
    if (side === 'carried' && !isAwaited(held, moveId)) return journal.drop(moveId, side)
    const hasEnded =
      side !== 'carried' && (seen.epochs.hasEnded(volumeId, moveId) || record?.endedMoves.includes(moveId) === true)
    if (hasEnded && record?.moveId !== moveId) return journal.drop(moveId, side)
    throw new DroverError(
      'STALE_EPOCH',
      `nothing on host ${host.identity.hostName} says that move ${moveId} has ended; its journal was left alone`,
    )
  })
}
