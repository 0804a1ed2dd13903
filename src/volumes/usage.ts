import type { ContainerRuntime, ContainerUse } from '../containers/runtime.ts'
import { holdsVolume } from '../containers/runtime.ts'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { DatasetMount } from '../lib/mount-users.ts'
import type { Held, VolumeHost } from './host.ts'

/** A Mount was answered so lately that its container may not show in /proc yet. */
export const mountGraceMs = 30_000

/** Mounts of the live dataset but for our own at the stable path. */
export const foreignMounts = async (host: VolumeHost, { backend, record }: Held): Promise<DatasetMount[]> => {
  const fingerprint = await backend.fingerprint(record.volumeId)
  if (fingerprint === null) return []
  const ours = host.mountPath(record.volumeId)
  return (await host.machine.mountsOf(fingerprint)).filter((mount) => !isOurs(mount, ours))
}

// Another mount namespace may hold a copy of our own mount (a service with a private copy of the tree). It pins the file
// system, so unmount has to see it; but it is no container's.
const isOurs = (mount: DatasetMount, path: string): boolean => mount.mountPoint === path

export const isMountedHere = async (host: VolumeHost, { backend, record }: Held): Promise<boolean> => {
  const fingerprint = await backend.fingerprint(record.volumeId)
  if (fingerprint === null) return false
  const path = host.mountPath(record.volumeId)
  return (await host.machine.mountsOf(fingerprint)).some((mount) => mount.own && mount.mountPoint === path)
}

/** Who uses the volume on this host: null when nobody does, else words for a person. */
export const inUseBy = async (
  host: VolumeHost,
  runtime: ContainerRuntime,
  held: Held,
): Promise<{ text: string; containers: ContainerUse[] } | null> => {
  const containers = (await runtime.usersOf(held.record.name)).filter(holdsVolume)
  const names = containers.map((use) => `container ${use.name} (${use.state})`)
  if (names.length > 0) return { text: names.join(', '), containers }
  const mounts = await foreignMounts(host, held)
  const [first] = mounts
  if (first !== undefined)
    return { text: `process ${first.pid}, which has it mounted at ${first.mountPoint}`, containers }
  if (host.mounts.expectedWithin(held.record.volumeId, mountGraceMs)) {
    return { text: 'a container that is being started', containers }
  }
  return null
}

/**
 * Rule 2's first half: no mount of it in any mount namespace, no descriptor, working directory or mapping.
 * @throws VOLUME_BUSY naming pid, command and namespace
 */
export const proveUnused = async (host: VolumeHost, { backend, record }: Held): Promise<void> => {
  const fingerprint = await backend.fingerprint(record.volumeId)
  if (fingerprint === null) return
  const mounts = await host.machine.mountsOf(fingerprint)
  const [mount] = mounts
  if (mount !== undefined) {
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${record.name} is still mounted at ${mount.mountPoint} in ${mount.namespace} (process ${mount.pid}) on host ${host.identity.hostName}; end that process or unmount it there`,
      { details: { mounts } },
    )
  }
  const openers = await host.machine.openersOf(fingerprint)
  const [opener] = openers
  if (opener !== undefined) {
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${record.name} is kept open by process ${opener.pid} (${opener.command}: ${opener.what.join(', ')}) on host ${host.identity.hostName}; end it`,
      { details: { openers } },
    )
  }
}

/** Unmounts our own mount once nobody else uses the volume. @throws VOLUME_BUSY */
export const unmountOurs = async (host: VolumeHost, held: Held): Promise<void> => {
  await held.backend.unmount(held.record.volumeId, host.mountPath(held.record.volumeId))
  host.mounts.clear(held.record.volumeId)
}

export const volumeLabel = (id: VolumeId, name: string): string => `${name} (${id})`
