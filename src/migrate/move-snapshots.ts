import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { MoveCommand } from './agent.ts'

/** Snapshot names of a move begin so: they are known for what they are after any crash. */
export const moveSnapshotPrefix = (command: { moveId: string }): string => `move-${command.moveId}-`

/** The how manieth snapshot of the move it is, from 0; -1: it is not of this move, or there is none. */
export const snapshotIndex = (command: { moveId: string }, name: string | null): number => {
  const prefix = moveSnapshotPrefix(command)
  return name?.startsWith(prefix) === true ? Number(name.slice(prefix.length)) : -1
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
