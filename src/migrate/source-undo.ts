import { DroverError } from '../domain/errors.ts'
import type { MoveCommand, UndoCommand } from './agent.ts'
import { bringBack } from './bring-back.ts'
import { reclaimHandover } from './handover/handover-calls.ts'
import type { SourceJournal } from './move-journal.ts'
import { dropMoveSnapshots } from './move-snapshots.ts'
import { ended, write } from './role-change.ts'
import { asSourceOf } from './sides.ts'
import { dropSourceJournals, othersOf, type SourceParts } from './source-parts.ts'

/**
 * Owner again, then the writers, then the end of the move: a crash may come between any two. `streamsEnded`: nobody reads its snapshots.
 * That the move has ended is noted also where its begin never arrived, so that it is refused when it still does.
 */
export const undo = async (parts: SourceParts, args: UndoCommand, streamsEnded: Promise<void>): Promise<void> => {
  const { host, watchdog } = parts
  const isFree = await host.locks.run(args.volumeId, async () => {
    const held = await host.mustHold(args.volumeId)
    if (held.record.moveId !== args.moveId) return held.record.moveId === null && held.record.role === 'owner'
    if (held.record.role === 'released' && !args.abortStored) {
      throw new DroverError(
        'STALE_EPOCH',
        `volume ${args.volumeName} is released on host ${host.identity.hostName}; only a stored abort brings it back`,
      )
    }
    if (!['owner', 'sealed', 'released'].includes(held.record.role)) {
      throw new DroverError(
        'STALE_EPOCH',
        `volume ${args.volumeName} is ${held.record.role} on host ${host.identity.hostName}, which no undo makes an owner; nothing was done`,
      )
    }
    await write(held, {
      role: 'owner',
      epoch: Math.max(held.record.epoch, args.ownerEpoch),
      snapshot: null,
    })
    return true
  })
  watchdog.forget(args.moveId)
  // What it stopped belongs to another move by now, or the volume lives elsewhere.
  if (isFree && args.reclaim === true) await reclaimHandover(host, args)
  if (isFree) await restoreWriters(parts, args)
  await streamsEnded
  await host.locks.run(args.volumeId, async () => {
    const held = await host.mustHold(args.volumeId)
    if (held.record.moveId !== args.moveId) {
      // No epoch of it was heard while another move is under way here: that one's commands must not become stale.
      const heard = held.record.moveId === null ? args.returnEpoch : 0
      return host.epochs.record(args.volumeId, heard, args.moveId)
    }
    const kept = await dropMoveSnapshots(held, args, null)
    await write(kept, { ...ended(kept.record, args), role: 'owner', snapshot: null })
    await host.epochs.record(args.volumeId, args.returnEpoch, args.moveId)
    await dropSourceJournals(parts, args)
  })
}

const restoreWriters = async (parts: SourceParts, args: MoveCommand): Promise<void> => {
  const { host } = parts
  const journal = await parts.journal.source(args.moveId)
  if (journal === null) return
  await othersAreBack(parts, args, journal)
  for (const line of await bringBack(parts, journal))
    host.logger.error({ move: args.moveId }, `not started again: ${line}`)
}

/** Containers of several volumes of a group start when all of these may be mounted again: the lead is undone last. */
const othersAreBack = async (
  { host, whole }: SourceParts,
  { moveId }: MoveCommand,
  { group, specs }: SourceJournal,
): Promise<void> => {
  if (group === undefined || specs.length === 0) return
  for (const other of othersOf(group, moveId)) {
    const record = (await asSourceOf(whole, other).held(other.volumeId))?.record
    if (record?.moveId !== other.moveId || !['sealed', 'released'].includes(record.role)) continue
    throw new DroverError(
      'VOLUME_SEALED',
      `volume ${other.volumeName} of the same group is still ${record.role} on host ${host.identity.hostName}; the containers start when it is back`,
    )
  }
}
