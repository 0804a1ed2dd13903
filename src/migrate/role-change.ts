import type { DatasetRecord, Role } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import type { MoveCommand } from './agent.ts'

/** Refuses a stale command, and remembers durably that its epochs were heard of, before anything acts. */
export const hear = async (host: VolumeHost, command: MoveCommand): Promise<void> => {
  host.epochs.check(command.volumeId, command.moveId, command.returnEpoch)
  await host.epochs.record(command.volumeId, command.returnEpoch)
}

/** The record, which must be of this cluster, host, pool and move, in one of the roles. */
export const heldIn = async (host: VolumeHost, command: MoveCommand, ...roles: readonly Role[]): Promise<Held> => {
  const held = await host.mustHold(command.volumeId)
  checkBound(host, held)
  const { record } = held
  if (record.moveId !== command.moveId || !roles.includes(record.role)) {
    throw new DroverError(
      'STALE_EPOCH',
      `volume ${record.name} is ${record.role}${record.moveId === null ? '' : ` in move ${record.moveId}`} on host ${host.identity.hostName}, move ${command.moveId} expects ${roles.join(' or ')}; nothing was done`,
    )
  }
  return held
}

/** A record that is bound to another machine or pool is void here: nothing may act on it. */
export const checkBound = (host: VolumeHost, held: Held): void => {
  if (isBound(host, held)) return
  const { record } = held
  throw new DroverError(
    'DATASET_FOREIGN',
    `the dataset of volume ${record.name} on host ${host.identity.hostName} is bound to another cluster, host or pool; it was left alone`,
  )
}

export const isBound = (host: VolumeHost, held: Held): boolean => host.isBound(held)

/** Writes the record with a new role; durable when it returns. */
export const write = async (held: Held, change: Partial<DatasetRecord>): Promise<Held> => {
  const record = { ...held.record, ...change }
  await held.backend.writeRecord(record)
  return { backend: held.backend, record }
}

const rememberedMoves = 16

/** The move is over for this record: late commands of it are refused from now on. */
export const ended = (record: DatasetRecord, command: MoveCommand): Pick<DatasetRecord, 'moveId' | 'endedMoves'> => ({
  moveId: null,
  endedMoves: [...record.endedMoves.filter((id) => id !== command.moveId), command.moveId].slice(-rememberedMoves),
})

/** A begin may come late; the record may know of the end what the ledger lost with the power. @throws STALE_EPOCH */
export const refuseEnded = (record: DatasetRecord, { moveId }: MoveCommand): void => {
  if (!record.endedMoves.includes(moveId)) return
  throw new DroverError(
    'STALE_EPOCH',
    `move ${moveId} of volume ${record.name} has ended on this host; nothing was done`,
  )
}

/** One change of the volume on this host at a time, and none by a stale command. */
export const exclusively = <T>(host: VolumeHost, command: MoveCommand, work: () => Promise<T>): Promise<T> =>
  host.locks.run(command.volumeId, async () => {
    await hear(host, command)
    return work()
  })

/** The command without what a call adds to it, as journals keep it. */
export const bareCommand = ({
  volumeId,
  volumeName,
  moveId,
  epoch,
  returnEpoch,
  returnOf,
  sourcePool,
  targetPool,
  oneHost,
}: MoveCommand): MoveCommand => ({
  volumeId,
  volumeName,
  moveId,
  epoch,
  returnEpoch,
  ...(returnOf == null ? {} : { returnOf }),
  ...(sourcePool == null ? {} : { sourcePool }),
  ...(targetPool == null ? {} : { targetPool }),
  ...(oneHost === true ? { oneHost } : {}),
})
