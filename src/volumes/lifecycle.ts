import type { Backend, NewDataset } from '../backends/backend.ts'
import type { ContainerRuntime } from '../containers/runtime.ts'
import type { DatasetRecord, Epoch } from '../domain/dataset.ts'
import type { DatasetOptions } from '../domain/dataset-options.ts'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import { isoNow } from '../lib/clock.ts'
import type { VolumeHost } from './host.ts'
import { awaitUnused, inUseBy } from './usage.ts'

export interface CreateCommand {
  readonly volumeId: VolumeId
  readonly name: string
  readonly pool: string
  readonly epoch: Epoch
  readonly sizeBytes: number | null
  readonly labels: Readonly<Record<string, string>>
  readonly options?: DatasetOptions
}

/** Makes the dataset and its owner record. Repeated with the same id: the same, data left alone. */
export const createVolume = (host: VolumeHost, command: CreateCommand): Promise<void> =>
  host.locks.run(command.volumeId, async () => {
    const existing = await host.held(command.volumeId)
    if (existing !== null && existing.record.datasetUuid !== null) return
    const backend = existing?.backend ?? host.backend(command.pool)
    await checkOptions(backend, command.options ?? {})
    const { freeBytes } = await backend.info()
    if (freeBytes < minimumFreeBytes) {
      throw new DroverError(
        'NO_SPACE',
        `no space in pool ${command.pool} for volume ${command.name}: ${minimumFreeBytes} bytes are needed, ${freeBytes} are free; remove volumes or enlarge the pool`,
      )
    }
    await host.epochs.record(command.volumeId, command.epoch)
    // The record first: what a crash leaves is then known to be ours. Without a dataset's identity it allows no mount.
    await backend.writeRecord(ownerRecord(host, command, null))
    const live = await backend.create(command.volumeId, datasetOf(command))
    await backend.writeRecord(ownerRecord(host, command, live.uuid))
  })

const minimumFreeBytes = 1024 * 1024

/** As backends make one, of a command or a record. */
export const datasetOf = ({ sizeBytes, options }: Pick<DatasetRecord, 'sizeBytes' | 'options'>): NewDataset => ({
  sizeBytes,
  ...(options === undefined ? {} : { options }),
})

/** @throws UNKNOWN_OPTION, BAD_REQUEST */
const checkOptions = async ({ spec, options: facet }: Backend, options: DatasetOptions): Promise<void> => {
  const [first] = Object.keys(options)
  if (first === undefined) return
  if (facet === undefined) {
    throw new DroverError(
      'UNKNOWN_OPTION',
      `pool ${spec.text} has no option ${first}, only ZFS pools have; leave it out, or use another pool`,
    )
  }
  await facet.check(options)
}

const ownerRecord = (host: VolumeHost, command: CreateCommand, datasetUuid: string | null): DatasetRecord => ({
  formatVersion: 1,
  clusterId: host.identity.clusterId,
  hostId: host.identity.hostId,
  pool: command.pool,
  volumeId: command.volumeId,
  name: command.name,
  nameVersion: 1,
  role: 'owner',
  epoch: command.epoch,
  seen: command.epoch,
  moveId: null,
  endedMoves: [],
  datasetUuid,
  snapshot: null,
  snapshots: [],
  lease: 'none',
  sizeBytes: command.sizeBytes,
  labels: command.labels,
  ...(command.options === undefined ? {} : { options: command.options }),
  createdAt: isoNow(host.clock),
  keepUntil: null,
})

/** A removal waits so long for what keeps the file system busy; then it is refused, for it must not happen behind anybody's back. */
const removePatienceMs = 5_000

/**
 * Removes the volume's data from this host, quickly. The owner refuses while anything uses it; without `force` also
 * while a stopped container refers to it. Other copies (replicas) go without a question: the deletion is recorded.
 * @throws VOLUME_IN_USE, MOVE_UNDER_WAY, VOLUME_BUSY naming every holder
 */
export const removeVolume = (
  host: VolumeHost,
  runtime: ContainerRuntime,
  command: { volumeId: VolumeId; force: boolean },
): Promise<void> =>
  host.locks.run(command.volumeId, async () => {
    // What was superseded is a person's to look at, also when this comes again because its answer was lost.
    const copies = (await host.copies(command.volumeId)).filter(({ record }) => record.role !== 'diverged')
    const [held, ...others] = copies
    if (held === undefined) return
    const { record, backend } = held
    if (record.clusterId !== host.identity.clusterId || record.hostId !== host.identity.hostId) {
      throw new DroverError(
        'DATASET_FOREIGN',
        `the dataset of volume ${record.name} on host ${host.identity.hostName} belongs to another host or cluster; it was left alone`,
      )
    }
    const inMove = copies.find((copy) => copy.record.moveId !== null)?.record.moveId
    if (inMove != null) {
      throw new DroverError(
        'MOVE_UNDER_WAY',
        `volume ${record.name} is in move ${inMove}; wait for its end or cancel it`,
      )
    }
    const use = await inUseBy(host, runtime, held)
    if (use !== null) {
      throw new DroverError(
        'VOLUME_IN_USE',
        `volume ${record.name} is in use on host ${host.identity.hostName} by ${use.text}; stop it first`,
      )
    }
    if (record.role === 'owner' && !command.force) {
      const [stopped] = await runtime.usersOf(record.name)
      if (stopped !== undefined) {
        throw new DroverError(
          'VOLUME_IN_USE',
          `volume ${record.name} is referred to by stopped container ${stopped.name} on host ${host.identity.hostName}; remove that container or use --force`,
        )
      }
    }
    await awaitUnused(host, held, removePatienceMs)
    // Replicas in other pools first: while the copy that counts is there, a removal that was cut off is repeated.
    for (const other of others) {
      if (other.record.role === 'replica' && host.isBound(other)) await other.backend.destroy(record.volumeId)
    }
    await backend.destroy(record.volumeId)
  })

/** @throws BAD_SIZE when it holds more than that, NO_SUCH_VOLUME */
export const resizeVolume = (host: VolumeHost, volumeId: VolumeId, sizeBytes: number): Promise<void> =>
  host.locks.run(volumeId, async () => {
    const { backend, record } = await host.mustHold(volumeId)
    if (record.role !== 'owner') {
      throw new DroverError(
        'VOLUME_SEALED',
        `volume ${record.name} is ${record.role} on host ${host.identity.hostName}; resize it after its move`,
      )
    }
    if (backend.resizing === undefined) {
      throw new DroverError('BAD_SIZE', `pool ${backend.spec.text} cannot resize volumes`)
    }
    await backend.resizing.resize(volumeId, sizeBytes)
    await backend.writeRecord({ ...record, sizeBytes })
  })
