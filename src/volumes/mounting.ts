import { mayMount } from '../domain/dataset.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import { copiesToMount, copyToUnmount } from './dark-pools.ts'
import type { FirstMount } from './first-mount.ts'
import { holdersOfMounts, holdersText } from './holders.ts'
import type { Held, VolumeHost } from './host.ts'
import type { Tried } from './put-off.ts'
import { foreignMounts, mountsByKind, unmountOurs } from './usage.ts'

/** The directory inside the file system that containers see: a block device's lost+found never shows. */
export const dataPath = (host: VolumeHost, id: VolumeId): string => `${host.mountPath(id)}/data`

/**
 * Mounts a volume that this host owns and answers the container's path. Several layers are never stacked.
 * @throws VOLUME_SEALED, VOLUME_FENCED, DATASET_MISSING, POOL_UNREACHABLE
 */
export const mountOwned = (host: VolumeHost, first: FirstMount, id: VolumeId, caller: string): Promise<string> =>
  host.locks.run(id, async () => {
    const [counting, ...others] = await copiesToMount(host, id)
    const held = counting ?? (await host.mustHold(id))
    const { backend, record } = held
    // A pool that was put back to an older state knows less than its neighbour.
    const known = others.filter((copy) => host.isBound(copy)).map((copy) => copy.record.epoch)
    const heardOwnerEpoch = Math.max(await first.heardOwnerEpoch(record), ...known)
    const live = await backend.live(id, { sync: false })
    const reason = mayMount(record, {
      ...host.identity,
      pool: backend.spec.text,
      datasetUuid: live?.uuid ?? null,
      heardOwnerEpoch,
    })
    if (reason !== null) throw refusal(held, reason, host.identity.hostName)
    await backend.mount(id, host.mountPath(id))
    const path = dataPath(host, id)
    if (!(await host.machine.isDirectory(path))) {
      throw new DroverError(
        'DATASET_MISSING',
        `volume ${record.name} has no data directory on host ${host.identity.hostName}; it was not mounted`,
      )
    }
    host.mounts.add(id, caller)
    void lookForContainer(host, held, caller)
    return path
  })

const lookAfterMs = [500, 2_000, 8_000]

/**
 * Notes that the container of a Mount has come, so that its end is seen in /proc: an engine that was killed sends no Unmount
 * for the containers that ended with it, and the volume must not seem in use for their sake.
 */
const lookForContainer = async (host: VolumeHost, held: Held, caller: string): Promise<void> => {
  const { volumeId, name } = held.record
  try {
    for (const ms of lookAfterMs) {
      await host.clock.sleep(ms)
      if (!host.mounts.awaits(volumeId, caller)) return
      const mounts = await foreignMounts(host, held)
      host.mounts.saw(volumeId, new Set(mounts.map(({ namespace }) => namespace)).size)
    }
  } catch (error) {
    host.logger.debug({ volume: name, error: String(error) }, 'could not see who has the volume mounted')
  }
}

const refusal = ({ record }: Held, reason: string, hostName: string): DroverError => {
  if (record.moveId !== null && record.role !== 'owner') {
    return new DroverError(
      'VOLUME_SEALED',
      `volume ${record.name} is being moved (move ${record.moveId}): ${reason}; try again when the move has ended`,
    )
  }
  if (record.role === 'owner' && reason.includes('missing')) {
    return new DroverError('DATASET_MISSING', `volume ${record.name} cannot be mounted on host ${hostName}: ${reason}`)
  }
  return new DroverError('VOLUME_FENCED', `volume ${record.name} cannot be mounted on host ${hostName}: ${reason}`)
}

/** An engine waits for each Unmount: so long is a busy file system tried before the rest is left to the background. */
const unmountPatienceMs = 1_000

/**
 * Takes back one Mount. The file system is unmounted when nothing uses it by /proc's word; that it is still used is no error (engines
 * send Unmounts of mounts that live). What else keeps it busy is waited for, in the background after a while.
 */
export const unmountOwned = (host: VolumeHost, id: VolumeId, caller: string): Promise<void> =>
  host.locks.run(id, async () => {
    host.mounts.remove(id, caller)
    const tried = await tryUnmount(host, id, unmountPatienceMs)
    if (typeof tried !== 'object') return
    const name = host.catalog.entries().find((entry) => entry.id === id)?.name ?? id
    host.putOff.add(id, name, tried.waitsFor, () => host.locks.run(id, () => tryUnmount(host, id, 0)))
  })

const tryUnmount = async (host: VolumeHost, id: VolumeId, patienceMs: number): Promise<Tried> => {
  if (host.mounts.expects(id)) return 'unneeded'
  const held = await copyToUnmount(host, id)
  if (held === null) return 'unneeded'
  const { users, leaked } = await mountsByKind(host, held)
  if (users.length > 0) return 'unneeded'
  try {
    await unmountOurs(host, held, patienceMs)
  } catch (error) {
    if (hasCode(error, 'VOLUME_BUSY')) return { waitsFor: error.message }
    throw error
  }
  if (leaked.length > 0) {
    const by = holdersText(await holdersOfMounts(host, leaked))
    host.logger.warn({ volume: held.record.name, leaked: by }, 'unmounted here, but its mount has leaked to others')
  }
  return 'done'
}
