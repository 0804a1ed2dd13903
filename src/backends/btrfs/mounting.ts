import { mkdir, stat } from 'node:fs/promises'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { isErrno } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { DatasetFingerprint } from '../backend.ts'
import { anyMountsOf, isMountedAt, refuseIfMounted, unmountLayers, wholeMountsOf } from '../mount-layers.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'
import { placeOf } from './pool-check.ts'

/** Bind mounts of live datasets. What is mounted is asked of /proc each time; each call starts at most one process a layer. */
export class Mounting {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #logger: Logger
  /** Two mounts of one path at once would both find it free. */
  readonly #paths = new KeyedMutex<string>()

  constructor(layout: Layout, command: BtrfsCommand, logger: Logger) {
    this.#layout = layout
    this.#command = command
    this.#logger = logger
  }

  async fingerprint(id: VolumeId): Promise<DatasetFingerprint | null> {
    try {
      const { dev } = await stat(this.#layout.live(id))
      const { device, root } = await placeOf(this.#layout.where)
      return { device, root: `${root}/volumes/${id}/live`, statDevice: dev }
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
  }

  mount(id: VolumeId, path: string): Promise<void> {
    return this.#paths.run(path, async () => {
      const mark = await this.fingerprint(id)
      if (mark === null) {
        throw new DroverError(
          'DATASET_MISSING',
          `volume ${id} has no live dataset at ${this.#layout.live(id)}; nothing was made in its place`,
        )
      }
      if (await isMountedAt(path, wholeMountsOf(mark))) return
      await mkdir(path, { recursive: true, mode: 0o700 })
      await this.#command.bindMount(this.#layout.live(id), path)
    })
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#paths.run(path, async () => {
      const { device, root } = await placeOf(this.#layout.where)
      const mark = { device, root: `${root}/volumes/${id}/live`, statDevice: 0 }
      await unmountLayers(path, anyMountsOf(mark), (at) => this.#command.unmount(at), this.#logger)
    })
  }

  /** The kernel lets a subvolume be removed from under those who have it mounted. We do not. @throws VOLUME_BUSY */
  async refuseIfMounted(id: VolumeId): Promise<void> {
    await refuseIfMounted(id, anyMountsOf(await this.fingerprint(id)))
  }
}
