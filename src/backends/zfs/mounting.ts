import { mkdir, stat } from 'node:fs/promises'
import { hasCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Logger } from '../../lib/logger.ts'
import { allMounts, type MountEntry, ownMounts } from '../../lib/mountinfo.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { DatasetFingerprint } from '../backend.ts'
import { fileSystemMark, isMountedAt, type MountFilter, refuseIfMounted, unmountLayers } from '../mount-layers.ts'
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
    const mounted = (await allMounts()).namespaces
      .flatMap(({ entries }) => entries)
      .find((entry) => this.#isOthers(entry) && entry.source === live)
    if (mounted !== undefined) return fileSystemMark(mounted.device)
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
      if (await isMountedAt(path, wholeMountsOf(live))) return
      await mkdir(path, { recursive: true, mode: 0o700 })
      await this.#command.mount(live, path)
    })
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#paths.run(path, () =>
      unmountLayers(path, wholeMountsOf(this.#names.live(id)), (at) => this.#command.unmount(at), this.#logger),
    )
  }

  /** Where this process sees the live dataset mounted; null: nowhere. */
  async pathOf(id: VolumeId): Promise<string | null> {
    return (await ownMounts()).find(wholeMountsOf(this.#names.live(id)))?.mountPoint ?? null
  }

  /** A mounted dataset can be renamed, and destroyed as soon as it is not. We do neither. @throws VOLUME_BUSY */
  async refuseIfMounted(id: VolumeId): Promise<void> {
    const below = `${this.#names.volume(id)}/`
    await refuseIfMounted(id, (entry) => this.#isOthers(entry) && entry.source.startsWith(below))
  }

  /** Of ZFS, and none of our own private ones. */
  #isOthers({ fsType, mountPoint }: MountEntry): boolean {
    return fsType === 'zfs' && !mountPoint.startsWith(`${this.#private.root}/`)
  }
}

const wholeMountsOf =
  (dataset: string): MountFilter =>
  ({ fsType, source, root }) =>
    fsType === 'zfs' && source === dataset && root === '/'
