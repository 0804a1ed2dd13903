import type { ContainerRuntime, ContainerUse } from '../containers/runtime.ts'
import { holdsVolume } from '../containers/runtime.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { DatasetMount } from '../lib/mount-users.ts'
import { busyError, type Holder, heldError, holdersOf, holdersOfMounts, holdersText } from './holders.ts'
import type { Held, VolumeHost } from './host.ts'

/** A Mount was answered so lately that its container may not show in /proc yet. */
export const mountGraceMs = 30_000

/** Mounts of the live dataset but for our own at the stable path. */
export const foreignMounts = async (host: VolumeHost, held: Held): Promise<DatasetMount[]> => {
  const ours = host.mountPath(held.record.volumeId)
  return (await allMountsOf(host, held)).filter((mount) => !isOurs(mount, ours))
}

// Another mount namespace may hold a copy of our own mount (a service with a private copy of the tree). It pins the file
// system, so a proof has to see it; but it is no container's.
const isOurs = (mount: DatasetMount, path: string): boolean => mount.mountPoint === path

const allMountsOf = async (host: VolumeHost, { backend, record }: Held): Promise<DatasetMount[]> => {
  const fingerprint = await backend.fingerprint(record.volumeId)
  return fingerprint === null ? [] : host.machine.mountsOf(fingerprint)
}

/**
 * Who has it mounted: `users` as a container has it (the directory within), or as somebody of this host's own namespace has; and
 * `leaked`, copies of our own mount that came into another mount namespace with a copy of the host's tree: a container
 * with `/` or /var/lib mounted, a service with a namespace of its own. No engine takes those down, and none waits for them.
 */
export const mountsByKind = async (
  host: VolumeHost,
  held: Held,
): Promise<{ users: DatasetMount[]; leaked: DatasetMount[] }> => {
  const fingerprint = await held.backend.fingerprint(held.record.volumeId)
  if (fingerprint === null) return { users: [], leaked: [] }
  const mounts = await host.machine.mountsOf(fingerprint)
  const leaked = mounts.filter((mount) => !mount.own && mount.root === fingerprint.root)
  const path = host.mountPath(held.record.volumeId)
  return { users: mounts.filter((mount) => !leaked.includes(mount) && !isOurs(mount, path)), leaked }
}

/** Who keeps it mounted or open though no engine accounts for them: leaks, and what a put-off unmount waits for. */
export const holdersBeside = async (host: VolumeHost, held: Held): Promise<Holder[]> => {
  if (host.putOff.of(held.record.volumeId) !== null) return holdersOf(host, held)
  return holdersOfMounts(host, (await mountsByKind(host, held)).leaked)
}

export const isMountedHere = async (host: VolumeHost, held: Held): Promise<boolean> => {
  const path = host.mountPath(held.record.volumeId)
  return (await allMountsOf(host, held)).some((mount) => mount.own && mount.mountPoint === path)
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
  if (mounts.length > 0) return { text: holdersText(await holdersOfMounts(host, mounts)), containers }
  if (host.mounts.expectedWithin(held.record.volumeId, mountGraceMs)) {
    return { text: 'a container that is being started', containers }
  }
  return null
}

/**
 * Rule 2's first half: no mount of it in any mount namespace, no descriptor, working directory or mapping.
 * @throws VOLUME_BUSY naming every holder
 */
export const proveUnused = async (host: VolumeHost, held: Held): Promise<void> => {
  const fingerprint = await held.backend.fingerprint(held.record.volumeId)
  if (fingerprint === null) return
  // Mounts first: they say in no time what openers say after a look at every process.
  const [mount] = await host.machine.mountsOf(fingerprint)
  if (mount !== undefined) throw await busyError(host, held, stillMounted(host, held, mount))
  const openers = await host.machine.openersOf(fingerprint)
  if (openers.length > 0) throw heldError(host, held, await holdersOf(host, held))
}

const stillMounted = (host: VolumeHost, { record }: Held, { mountPoint }: DatasetMount): DroverError =>
  new DroverError(
    'VOLUME_BUSY',
    `volume ${record.name} is still mounted at ${mountPoint} on host ${host.identity.hostName}; try again`,
  )

/**
 * Unmounts our own mount once nobody else uses the volume. What is busy is tried again for `patienceMs`, sooner at first; never
 * lazily: a file system that the kernel only hides is still written to.
 * @throws VOLUME_BUSY naming every holder
 */
export const unmountOurs = async (host: VolumeHost, held: Held, patienceMs = 0): Promise<void> => {
  const { volumeId } = held.record
  const deadline = host.clock.monotonic() + patienceMs
  for (let waitMs = retryMs.first; ; waitMs = Math.min(waitMs * 2, retryMs.most)) {
    try {
      await held.backend.unmount(volumeId, host.mountPath(volumeId))
      break
    } catch (error) {
      if (!hasCode(error, 'VOLUME_BUSY')) throw error
      if (host.clock.monotonic() + waitMs > deadline) throw await busyError(host, held, error)
    }
    await host.clock.sleep(waitMs)
  }
  host.mounts.clear(volumeId)
}

/** Unmounted and proved unused, tried again for `patienceMs`. @throws VOLUME_BUSY naming every holder */
export const awaitUnused = async (host: VolumeHost, held: Held, patienceMs: number): Promise<void> => {
  const deadline = host.clock.monotonic() + patienceMs
  for (;;) {
    try {
      await unmountOurs(host, held, Math.max(deadline - host.clock.monotonic(), 0))
      return await proveUnused(host, held)
    } catch (error) {
      if (!hasCode(error, 'VOLUME_BUSY') || host.clock.monotonic() + retryMs.most > deadline) throw error
    }
    await host.clock.sleep(retryMs.most)
  }
}

const retryMs = { first: 50, most: 1_000 }
