import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { syncDirectory } from '../../lib/files.ts'
import type { LiveDataset } from '../backend.ts'
import type { BlockProvider, LiveNote, SnapshotNote, VolumeFileSystem } from './device.ts'
import { type FileSystems, smallestBytes, tooSmall } from './file-systems.ts'
import type { Layout } from './layout.ts'
import type { Mounting } from './mounting.ts'
import { missing, type Notes, newDevice, readNote } from './notes.ts'
import type { Trash } from './trash.ts'
import type { Views } from './views.ts'

/** What a volume without a size may grow to: the device is thin and takes what is written. */
const largestDefaultBytes = 2 ** 40

interface Parts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly notes: Notes
  readonly trash: Trash
  readonly mounting: Mounting
  readonly fileSystems: FileSystems
  readonly views: Views
  readonly fileSystem: VolumeFileSystem
  /** A directory that holds an empty `data`. */
  readonly template: string
}

/** Live datasets come about under making/ and get their place when they are whole. */
export class LiveDatasets {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async read(id: VolumeId, sync: boolean): Promise<LiveDataset | null> {
    const { mounting, devices } = this.#parts
    const note = await mounting.note(id)
    if (note === null || (await devices.sizeBytes(note.device)) === null) return null
    if (sync) await mounting.sync(note)
    return { uuid: note.uuid, generation: await devices.generation(note.device), sizeBytes: note.sizeBytes }
  }

  async create(id: VolumeId, sizeBytes: number | null): Promise<LiveDataset> {
    const { layout, notes, fileSystem } = this.#parts
    const existing = await this.#existing(id)
    if (existing !== null) return existing
    if (sizeBytes !== null && sizeBytes < smallestBytes[fileSystem]) throw tooSmall(sizeBytes, fileSystem)
    if ((await mkdir(layout.volume(id), { recursive: true, mode: 0o700 })) !== undefined) {
      await syncDirectory(layout.volumes)
    }
    const making = await this.#begin({ id, fileSystem, sizeBytes, origin: null })
    await this.#orDrop(id, making.path, async () => {
      await this.makeFileSystem(making.note.device, sizeBytes)
      await notes.commit(id, making.path, layout.live(id))
    })
    return this.#mustRead(id)
  }

  /** On a new device, which is made for it, synced. @throws BAD_SIZE, NO_SPACE */
  async makeFileSystem(device: string, sizeBytes: number | null, how: 'staged' | 'to stay' = 'to stay'): Promise<void> {
    const { devices, fileSystems, fileSystem, template } = this.#parts
    if (sizeBytes !== null && sizeBytes < smallestBytes[fileSystem]) throw tooSmall(sizeBytes, fileSystem)
    const deviceBytes = await devices.whole(sizeBytes ?? (await this.#defaultBytes()))
    const staged = how === 'staged' ? devices.stage?.(device, null, deviceBytes) : undefined
    await (staged ?? devices.create(device, deviceBytes))
    await fileSystems.format(fileSystem, await devices.path(device), deviceBytes, template)
    await devices.sync(device)
  }

  /** A clone that nobody has mounted gets at least this size. */
  async enlarge(
    { device, fileSystem }: { readonly device: string; readonly fileSystem: VolumeFileSystem },
    sizeBytes: number | null,
  ): Promise<void> {
    const wanted = await this.#parts.devices.whole(sizeBytes ?? 0)
    if (((await this.#parts.devices.sizeBytes(device)) ?? 0) < wanted) await this.#fit(device, fileSystem, wanted)
  }

  async promote(id: VolumeId, snapshot: string, sizeBytes: number | null): Promise<LiveDataset> {
    const { layout, devices, notes, fileSystems, views } = this.#parts
    const source = await readNote<SnapshotNote>(layout.snapshot(id, snapshot))
    const there = await this.#parts.mounting.note(id)
    if (there !== null && (source === null || there.origin !== source.uuid)) {
      throw new DroverError(
        'DIVERGED',
        `volume ${id} has a live dataset that was not made from snapshot ${snapshot}; both are left alone`,
        { details: { live: there, snapshot: source } },
      )
    }
    if (there !== null) return this.#mustRead(id)
    if (source === null || !(await devices.isSealed(source.device))) throw missing(layout.snapshot(id, snapshot))
    const { fileSystem } = source
    const making = await this.#begin({ id, fileSystem, sizeBytes, origin: source.uuid })
    const { device } = making.note
    await this.#orDrop(id, making.path, async () => {
      await devices.clone(source.device, device)
      await fileSystems.repair(fileSystem, await devices.path(device))
      if (fileSystem === 'xfs') await views.show(device, fileSystem, 'writable', async () => {})
      if (sizeBytes !== null) await this.#fit(device, fileSystem, await devices.whole(sizeBytes))
      await devices.sync(device)
      await notes.commit(id, making.path, layout.live(id))
    })
    return this.#mustRead(id)
  }

  async #orDrop(id: VolumeId, making: string, work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await this.#parts.trash.put(id, making)
      throw error
    }
  }

  /** Not mounted by anybody: the file system and its device get this size. */
  async #fit(device: string, fileSystem: VolumeFileSystem, wantedBytes: number): Promise<void> {
    const { devices, fileSystems, views } = this.#parts
    const path = await devices.path(device)
    const bytes = (await devices.sizeBytes(device)) ?? 0
    if (bytes === wantedBytes) return
    if (fileSystem === 'xfs') {
      if (wantedBytes < bytes)
        throw new DroverError('BAD_SIZE', `a volume with xfs cannot become smaller than ${bytes}`)
      await devices.grow(device, wantedBytes)
      return views.show(device, fileSystem, 'writable', (at) => fileSystems.resize(fileSystem, path, at, null))
    }
    await fileSystems.repair(fileSystem, path, true)
    if (wantedBytes > bytes) await devices.grow(device, wantedBytes)
    await fileSystems.resize(fileSystem, path, null, wantedBytes)
    if (wantedBytes < bytes) await devices.shrink(device, wantedBytes)
  }

  /** To the size of its device, mounted or not. */
  async growFileSystem({ device, fileSystem }: LiveNote): Promise<void> {
    const { devices, fileSystems, views, mounting } = this.#parts
    const grow = async (at: string) => {
      const attached = await devices.attached(device)
      if (attached === null) throw missing(devices.name(device))
      await fileSystems.resize(fileSystem, attached.path, at, null)
    }
    const path = await mounting.reach(device)
    if (path !== null) return grow(path)
    if (fileSystem === 'xfs') return views.show(device, fileSystem, 'writable', grow)
    await fileSystems.repair(fileSystem, await devices.path(device), true)
    await fileSystems.resize(fileSystem, await devices.path(device), null, null)
    await devices.sync(device)
  }

  async #existing(id: VolumeId): Promise<LiveDataset | null> {
    const live = await this.read(id, true)
    if (live !== null || (await this.#parts.mounting.note(id)) === null) return live
    // Its bytes may be elsewhere for the moment: nothing is made in their place.
    throw missing(`${this.#parts.layout.live(id)}, whose device is gone`)
  }

  /** What a crash left is Drover's own and holds nothing that anybody was told of. */
  async #begin(of: {
    id: VolumeId
    fileSystem: VolumeFileSystem
    sizeBytes: number | null
    origin: string | null
  }): Promise<{ path: string; note: LiveNote }> {
    const { id, ...rest } = of
    const note: LiveNote = { uuid: randomUUID(), device: newDevice(id), volumeId: id, ...rest }
    await this.#parts.trash.put(id, this.#parts.layout.making(id, 'live'))
    return { path: await this.#parts.notes.begin(id, 'live', note), note }
  }

  async #mustRead(id: VolumeId): Promise<LiveDataset> {
    const live = await this.read(id, false)
    if (live === null) throw missing(this.#parts.layout.live(id))
    return live
  }

  async #defaultBytes(): Promise<number> {
    const { defaultBytes } = this.#parts.devices
    if (defaultBytes !== undefined) return Math.max(defaultBytes, smallestBytes[this.#parts.fileSystem])
    const { totalBytes } = await this.#parts.devices.space()
    return Math.max(Math.min(totalBytes, largestDefaultBytes), smallestBytes[this.#parts.fileSystem])
  }
}
