import { mkdir } from 'node:fs/promises'
import type { VolumeId } from '../../domain/ids.ts'
import type { Logger } from '../../lib/logger.ts'
import { allMounts, ownMounts } from '../../lib/mountinfo.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { DatasetFingerprint } from '../backend.ts'
import {
  anyMountsOf,
  fileSystemMark,
  isMountedAt,
  refuseIfMounted,
  unmountLayers,
  wholeMountsOf,
} from '../mount-layers.ts'
import type { BlockProvider, LiveNote } from './device.ts'
import type { FileSystems } from './file-systems.ts'
import type { Layout } from './layout.ts'
import type { MountCommand } from './mount-command.ts'
import { missing, readNote } from './notes.ts'

/** Mounts of live datasets. What is mounted is asked of the kernel each time: a device by its backing, a mount by its device. */
export class Mounting {
  readonly #layout: Layout
  readonly #devices: BlockProvider
  readonly #command: MountCommand
  readonly #fileSystems: FileSystems
  readonly #logger: Logger
  /** Two mounts of one volume at once would both attach its device. */
  readonly #volumes = new KeyedMutex<VolumeId>()

  constructor(layout: Layout, devices: BlockProvider, command: MountCommand, fileSystems: FileSystems, logger: Logger) {
    this.#layout = layout
    this.#devices = devices
    this.#command = command
    this.#fileSystems = fileSystems
    this.#logger = logger
  }

  note(id: VolumeId): Promise<LiveNote | null> {
    return readNote<LiveNote>(this.#layout.live(id))
  }

  /** Null also while its device is attached to nothing: then nobody can have it mounted, or a file in it open. */
  async fingerprint(id: VolumeId): Promise<DatasetFingerprint | null> {
    const note = await this.note(id)
    const attached = note === null ? null : await this.#devices.attached(note.device)
    return attached === null ? null : fileSystemMark(attached.device)
  }

  mount(id: VolumeId, path: string): Promise<void> {
    return this.#volumes.run(id, async () => {
      const note = await this.note(id)
      if (note === null || (await this.#devices.sizeBytes(note.device)) === null) throw missing(this.#layout.live(id))
      const attached = await this.#devices.attached(note.device)
      const mark = attached === null ? null : fileSystemMark(attached.device)
      if (await isMountedAt(path, wholeMountsOf(mark))) return
      if (!(await this.#devices.isHeld(note.device))) {
        await this.#fileSystems.heal(note.fileSystem, await this.#devices.path(note.device))
      }
      await mkdir(path, { recursive: true, mode: 0o700 })
      await this.#command.mount(note.device, note.fileSystem, 'writable', path)
    })
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#volumes.run(id, async () =>
      unmountLayers(path, anyMountsOf(await this.fingerprint(id)), (at) => this.#command.unmount(at), this.#logger),
    )
  }

  /** Held so that nothing is mounted or unmounted meanwhile. */
  exclusively<T>(id: VolumeId, work: () => Promise<T>): Promise<T> {
    return this.#volumes.run(id, work)
  }

  /** @throws VOLUME_BUSY */
  async refuseIfMounted(id: VolumeId): Promise<void> {
    await refuseIfMounted(id, anyMountsOf(await this.fingerprint(id)))
  }

  /** Where this process can reach the mounted file system, through whatever mount namespace has it; null: it is mounted nowhere. */
  async reach(device: string): Promise<string | null> {
    const attached = await this.#devices.attached(device)
    if (attached === null) return null
    const isOf = (entry: { device: string }) => entry.device === attached.device
    const own = (await ownMounts()).find(isOf)
    if (own !== undefined) return own.mountPoint
    for (const { pid, entries } of (await allMounts()).namespaces) {
      const entry = entries.find(isOf)
      if (entry !== undefined) return `/proc/${pid}/root${entry.mountPoint}`
    }
    return null
  }

  /** Syncs what is mounted, and its device. */
  async sync(note: LiveNote): Promise<void> {
    const path = await this.reach(note.device)
    if (path !== null) await this.#command.sync(path)
    await this.#devices.sync(note.device)
  }
}
