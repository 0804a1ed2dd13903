import { ulid } from 'ulid'
import { checkDatasetOptions } from '../domain/dataset-options.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { volumeId } from '../domain/ids.ts'
import { checkVolumeName } from '../domain/names.ts'
import type { Volume } from '../domain/volume.ts'
import { isoNow } from '../lib/clock.ts'
import { firstEpoch } from '../state/epochs.ts'
import type { CreateVolumeRequest } from './control.ts'
import { hostByName, volumeByName } from './lookup.ts'
import type { ControlParts } from './parts.ts'

/** The options that decide whether a second create of a name is the same create. */
const optionsOf = (request: CreateVolumeRequest): Record<string, string> => ({
  ...(request.pool === undefined ? {} : { pool: request.pool }),
  ...(request.sizeBytes === undefined ? {} : { size: String(request.sizeBytes) }),
  ...request.options,
})

/**
 * The row first, then the dataset: of two creators of a name the store lets one win. A row whose dataset could not be made is taken
 * back. @throws VOLUME_EXISTS, NO_SUCH_HOST, NO_SUCH_POOL, HOST_UNREACHABLE
 */
export const createVolume = async (parts: ControlParts, request: CreateVolumeRequest): Promise<Volume> => {
  const name = checkVolumeName(request.name)
  const options = checkDatasetOptions(request.options ?? {})
  const { store } = parts
  await parts.mayWrite()
  const existing = await store.volumeByName(name)
  if (existing !== null) throw existsError(await parts.hostName(existing.ownerHostId), existing)
  const host = request.host === undefined ? await parts.ownHost() : await hostByName(store, request.host)
  const pool = await poolOn(parts, host, request.pool)
  const id = volumeId(ulid(parts.clock.now()).toLowerCase())
  const epoch = firstEpoch((await store.identity()).term)
  const row = await store.insertVolume({
    id,
    name,
    state: 'creating',
    ownerHostId: host.id,
    pool,
    epoch,
    reservedEpoch: epoch,
    openMoveId: null,
    sizeBytes: request.sizeBytes ?? null,
    labels: request.labels,
    options: optionsOf(request),
    createdAt: isoNow(parts.clock),
    version: 1,
  })
  try {
    const { sizeBytes, labels } = row
    const chosen = Object.keys(options).length === 0 ? {} : { options }
    await parts.agent(host).createVolume({ volumeId: id, name, pool, epoch, sizeBytes, labels, ...chosen })
  } catch (error) {
    await takeBack(parts, row)
    throw error
  }
  const ready = await store.updateVolume({ ...row, state: 'ready' })
  parts.publisher.publish()
  await parts.emit('volume.created', { volume: name, host: host.name })
  return ready
}

export const existsError = (owner: string, existing: Volume): DroverError =>
  new DroverError(
    'VOLUME_EXISTS',
    `volume ${existing.name} exists already, on host ${owner}; choose another name, or use it as it is`,
    {
      details: { owner, options: existing.options },
    },
  )

/** Creates live only in this process: a row that its predecessor left half made was never told to anybody. */
export const takeBackUnfinished = async (parts: ControlParts): Promise<void> => {
  for (const row of await parts.store.volumes()) {
    if (row.state === 'creating') await takeBack(parts, row)
  }
}

/** Recorded as deleted, so that the reconciler removes what the host may have made before it stopped answering. */
const takeBack = async (parts: ControlParts, row: Volume): Promise<void> => {
  const { id, name, epoch, version } = row
  await parts.store.deleteVolume(id, version, { volumeId: id, name, epoch, deletedAt: isoNow(parts.clock) })
}

const poolOn = async (parts: ControlParts, host: Host, wanted: string | undefined): Promise<string> => {
  const known = host.pools
  const pool = wanted ?? known[0]
  if (pool !== undefined && known.includes(pool)) return pool
  const live = (await parts.agent(host).pools({})).map(({ spec }) => spec)
  const found = wanted ?? live[0]
  if (found !== undefined && live.includes(found)) return found
  throw new DroverError(
    'NO_SUCH_POOL',
    `host ${host.name} has no pool ${wanted ?? ''}; it has ${live.join(', ') || 'none'}`,
  )
}

/** The dataset goes out of sight first, then the row; what hosts that do not answer hold of it goes when they are back. */
export const removeVolume = async (
  parts: ControlParts,
  name: string,
  options: { force: boolean; ifVersion?: number | undefined },
): Promise<void> => {
  const { store } = parts
  await parts.mayWrite()
  const volume = await volumeByName(store, name)
  checkVersion(volume, options.ifVersion)
  checkNoMove(volume)
  if (volume.state === 'unknown' && options.force) return forget(parts, volume)
  checkKnown(volume)
  const owner = await parts.hostById(volume.ownerHostId)
  const deleting = volume.state === 'deleting' ? volume : await store.updateVolume({ ...volume, state: 'deleting' })
  try {
    await parts.agent(owner).removeVolume({ volumeId: volume.id, force: options.force })
  } catch (error) {
    // Refused by the host: the volume is as it was. When that is not known, it stays marked and rm is to be repeated.
    if (hasCode(error, ...refusals)) await store.updateVolume({ ...deleting, state: 'ready' })
    throw error
  }
  await store.deleteVolume(volume.id, deleting.version, {
    volumeId: volume.id,
    name,
    epoch: volume.epoch,
    deletedAt: isoNow(parts.clock),
  })
  parts.publisher.publish()
  void parts.reconcile()
  await parts.emit('volume.removed', { volume: name, host: owner.name })
}

export const resizeVolume = async (
  parts: ControlParts,
  name: string,
  sizeBytes: number,
  ifVersion: number | undefined,
): Promise<Volume> => {
  const { store } = parts
  await parts.mayWrite()
  const volume = await volumeByName(store, name)
  checkVersion(volume, ifVersion)
  checkNoMove(volume)
  checkKnown(volume)
  const owner = await parts.hostById(volume.ownerHostId)
  await parts.agent(owner).resizeVolume({ volumeId: volume.id, sizeBytes })
  const resized = await store.updateVolume({ ...volume, sizeBytes })
  parts.publisher.publish()
  await parts.emit('volume.resized', { volume: name, sizeBytes })
  return resized
}

const refusals = [
  'VOLUME_IN_USE',
  'VOLUME_BUSY',
  'MOVE_UNDER_WAY',
  'DATASET_FOREIGN',
  'DOCKER_UNREACHABLE',
  'DOCKER_FAILED',
] as const

const checkVersion = (volume: Volume, ifVersion: number | undefined): void => {
  if (ifVersion === undefined || ifVersion === volume.version) return
  throw new DroverError(
    'PRECONDITION_FAILED',
    `volume ${volume.name} is at version ${volume.version}, not ${ifVersion}; read it again`,
  )
}

/** The name goes, no data anywhere: no deletion is recorded, and a host that brings the volume back brings the name back too. */
const forget = async (parts: ControlParts, { id, name }: Volume): Promise<void> => {
  await parts.store.recover({
    ...{ term: null, volumes: [], moves: [], forgetVolumes: [id], forgetMoves: [], hosts: [], forgetHosts: [] },
  })
  parts.publisher.publish()
  await parts.emit('volume.forgotten', { volume: name })
}

export const checkKnown = (volume: Volume): void => {
  if (volume.state !== 'unknown') return
  throw new DroverError(
    'VOLUME_UNKNOWN',
    `who owns volume ${volume.name} is not known; nothing is done until its host answers, or see what vol recover says of it`,
  )
}

export const checkNoMove = (volume: Volume): void => {
  if (volume.openMoveId === null) return
  throw new DroverError(
    'MOVE_UNDER_WAY',
    `volume ${volume.name} is in move ${volume.openMoveId}; wait for its end or run vol cancel ${volume.openMoveId}`,
  )
}
