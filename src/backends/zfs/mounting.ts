import { mkdir, rmdir, stat } from 'node:fs/promises'
import { DroverError, hasCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { isErrno } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import { allMounts, type MountEntry, ownMounts } from '../../lib/mountinfo.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { DatasetFingerprint } from '../backend.ts'
import type { Names } from './names.ts'
import type { PrivateMounts } from './private-mounts.ts'
import { missing, type ZfsCommand } from './zfs-command.ts'

/** Legacy mounts of live datasets. All mounts of a dataset, in every mount namespace, are one file system with one device number. */
export class Mounting {
  readonly #names: Names
  readonly #command: ZfsCommand
  readonly #private: PrivateMounts
  readonly #logger: Logger
  /** Two mounts of one path at once would both find it free. */
  readonly #paths = new KeyedMutex<string>()
  readonly #probing = new KeyedMutex<VolumeId>()

  constructor(names: Names, command: ZfsCommand, privateMounts: PrivateMounts, logger: Logger) {
    this.#names = names
    this.#command = command
    this.#private = privateMounts
    this.#logger = logger
  }

  async fingerprint(id: VolumeId): Promise<DatasetFingerprint | null> {
    const live = this.#names.live(id)
    const guid = (await this.#command.get(live, ['guid']))?.get(live)?.get('guid')
    if (guid === undefined) return null
    const mounted = (await this.#mounts()).find((entry) => entry.source === live)
    if (mounted !== undefined) return markOf(mounted.device)
    return this.#probing.run(id, async () => {
      try {
        // The kernel refuses this while the same file system lives on, writable, under a mount that no namespace shows any more.
        await this.#private.with(live, { readOnly: true }, async () => undefined)
        return { device: `zfs:${guid}`, root: '/', statDevice: -1 }
      } catch (error) {
        if (!hasCode(error, 'VOLUME_BUSY')) throw error
        return this.#private.with(live, { readOnly: false }, async (path) => {
          const device = (await ownMounts()).find((entry) => entry.mountPoint === path)?.device ?? ''
          return { device, root: '/', statDevice: (await stat(path)).dev }
        })
      }
    })
  }

  mount(id: VolumeId, path: string): Promise<void> {
    return this.#paths.run(path, async () => {
      const live = this.#names.live(id)
      if ((await this.#command.get(live, ['guid'])) === null) throw missing(live)
      const top = (await ownMounts()).filter((entry) => entry.mountPoint === path).at(-1)
      if (top !== undefined) {
        if (isWhole(top, live)) return
        throw new DroverError('VOLUME_BUSY', `${told(top)} is mounted at ${path}; unmount it first`)
      }
      await mkdir(path, { recursive: true, mode: 0o700 })
      await this.#command.mount(live, path)
    })
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#paths.run(path, async () => {
      const layers = (await ownMounts()).filter((entry) => entry.mountPoint === path)
      for (const layer of layers.reverse()) {
        if (!isWhole(layer, this.#names.live(id))) {
          throw new DroverError('VOLUME_BUSY', `${told(layer)} is mounted at ${path}; it is left alone`)
        }
        await this.#command.unmount(path)
      }
      try {
        await rmdir(path)
      } catch (error) {
        if (isErrno(error, 'ENOTEMPTY'))
          this.#logger.warn({ path }, 'the mount directory is not empty; it is left alone')
        else if (!isErrno(error, 'ENOENT')) throw error
      }
    })
  }

  /** Where this process sees the live dataset mounted; null: nowhere. */
  async pathOf(id: VolumeId): Promise<string | null> {
    return (await ownMounts()).find((entry) => isWhole(entry, this.#names.live(id)))?.mountPoint ?? null
  }

  /** A mounted dataset can be renamed, and destroyed as soon as it is not. We do neither. @throws VOLUME_BUSY */
  async refuseIfMounted(id: VolumeId): Promise<void> {
    const mount = (await this.#mounts()).find((entry) => entry.source.startsWith(`${this.#names.volume(id)}/`))
    if (mount === undefined) return
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${id} is mounted at ${mount.mountPoint} (seen by process ${mount.pid}); unmount it first`,
    )
  }

  /** Of ZFS, in every mount namespace, but for our own private ones. */
  async #mounts(): Promise<(MountEntry & { readonly pid: number })[]> {
    const { namespaces } = await allMounts()
    return namespaces.flatMap(({ pid, entries }) =>
      entries
        .filter((entry) => entry.fsType === 'zfs' && !entry.mountPoint.startsWith(`${this.#private.root}/`))
        .map((entry) => ({ ...entry, pid })),
    )
  }
}

const isWhole = (entry: MountEntry, dataset: string): boolean =>
  entry.fsType === 'zfs' && entry.source === dataset && entry.root === '/'

const told = (entry: MountEntry): string => `something else (${entry.fsType} ${entry.source}${entry.root})`

/** As stat(2) gives a device number. */
const markOf = (device: string): DatasetFingerprint => {
  const [major = 0, minor = 0] = device.split(':').map(Number)
  return { device, root: '/', statDevice: ((major & 0xfff) << 8) | (minor & 0xff) | ((minor & ~0xff) << 12) }
}
