import type { DatasetRecord, SnapshotRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Held } from '../volumes/host.ts'
import type { MoveCommand } from './agent.ts'
import { write } from './role-change.ts'

/** Snapshot names of a move begin so: they are known for what they are after any crash. */
export const moveSnapshotPrefix = (command: { moveId: string }): string => `move-${command.moveId}-`

/** S, where the volume itself goes to the target: no snapshot has this name. */
export const handoverName = (command: { moveId: string }, index: number): string =>
  `${moveSnapshotPrefix(command)}handover-${index}`

export const isHandover = (name: string): boolean => /-handover-\d+$/.test(name)

/** The how manieth snapshot of the move it is, from 0; -1: it is not of this move, or there is none. */
export const snapshotIndex = (command: { moveId: string }, name: string | null): number => {
  const prefix = moveSnapshotPrefix(command)
  return name?.startsWith(prefix) === true ? Number(name.slice(prefix.length).replace('handover-', '')) : -1
}

/**
 * Rule 4: a command that is about an earlier S than the record is late. The final snapshot of a move only ever gives way to a
 * later one: whatever arrives of an earlier one finds its time over.
 */
export const refuseEarlierSnapshot = (command: MoveCommand & { snapshot: string }, record: DatasetRecord): void => {
  if (snapshotIndex(command, command.snapshot) >= snapshotIndex(command, record.snapshot)) return
  throw lateSnapshot(command, record)
}

export const lateSnapshot = (command: MoveCommand & { snapshot: string }, record: DatasetRecord): DroverError =>
  new DroverError(
    'STALE_EPOCH',
    `move ${command.moveId} of volume ${record.name} is ${record.role} with snapshot ${record.snapshot}, the command is about ${command.snapshot}; nothing was done`,
  )

/** Recorded snapshots that are on the pool as they were recorded. */
export const intactOf = async ({ backend, record }: Held): Promise<SnapshotRecord[]> => {
  const facet = backend.snapshots
  if (facet === undefined) return []
  const checked = await Promise.all(
    record.snapshots
      .filter(({ differs, unproved }) => differs !== true && unproved !== true)
      .map(async (snapshot) => ((await facet.intact(record.volumeId, snapshot)) ? snapshot : null)),
  )
  return checked.filter((snapshot) => snapshot !== null)
}

/** Removes the snapshots that `which` names, then their entries in the record. */
export const dropSnapshots = async (held: Held, which: (snapshot: SnapshotRecord) => boolean): Promise<Held> => {
  const gone = held.record.snapshots.filter(which)
  for (const snapshot of gone) await held.backend.snapshots?.destroy(held.record.volumeId, snapshot.name)
  return gone.length === 0
    ? held
    : write(held, { snapshots: held.record.snapshots.filter((snapshot) => !which(snapshot)) })
}

/**
 * What a move made of snapshots, in the record or only on the pool (a crash came between), and with a new base also the bases
 * before it.
 */
export const dropMoveSnapshots = async (held: Held, command: MoveCommand, base: string | null): Promise<Held> => {
  const { volumeId } = held.record
  const prefix = moveSnapshotPrefix(command)
  for (const { name } of (await held.backend.snapshots?.list(volumeId)) ?? []) {
    const recorded = held.record.snapshots.some((snapshot) => snapshot.name === name)
    if (!recorded && name.startsWith(prefix) && name !== base) await held.backend.snapshots?.destroy(volumeId, name)
  }
  return dropSnapshots(held, ({ name, origin }) =>
    base === null ? name.startsWith(prefix) : origin === 'move' && name !== base,
  )
}
