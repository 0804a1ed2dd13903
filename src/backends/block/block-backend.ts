import { chmod, lstat, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { DatasetRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import { isId, type VolumeId, volumeId } from '../../domain/ids.ts'
import type { PoolInfo, PoolSpec } from '../../domain/pool.ts'
import { formatSize } from '../../domain/units.ts'
import { isErrno, syncDirectory } from '../../lib/files.ts'
import type { Backend, BackendContext, DatasetFingerprint, LiveDataset, ResizingFacet } from '../backend.ts'
import { Records } from '../records.ts'
import { Reserve } from '../reserve.ts'
import { RsyncCheck } from '../tree/rsync.ts'
import type { ArrivalParts } from './arrival.ts'
import type { BlockProvider, VolumeFileSystem } from './device.ts'
import { FileSystems } from './file-systems.ts'
import { Freeze } from './freeze.ts'
import { Layout } from './layout.ts'
import { LiveDatasets } from './live-datasets.ts'
import { MountCommand } from './mount-command.ts'
import { Mounting } from './mounting.ts'
import { missing, Notes, notesIn } from './notes.ts'
import { Snapshots } from './snapshots.ts'
import { Streams } from './streams.ts'
import { Trash } from './trash.ts'
import { Trees } from './trees.ts'
import { Views } from './views.ts'

/** A file system on a block device for each volume, over any provider; layout.ts says what lies where. */
export class BlockBackend implements Backend {
  readonly spec: PoolSpec
  readonly removals: Trash
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly trees: Trees
  readonly resizing: ResizingFacet
  /** For what else may arrive in such a pool. */
  protected readonly arrivals: ArrivalParts
  readonly #devices: BlockProvider
  readonly #fileSystem: VolumeFileSystem
  readonly #layout: Layout
  readonly #fileSystems: FileSystems
  readonly #records: Records
  readonly #reserve: Reserve
  readonly #notes: Notes
  readonly #mounting: Mounting
  readonly #freeze: Freeze
  readonly #views: Views
  readonly #live: LiveDatasets

  constructor(
    { spec, exec, logger: parentLogger, clock }: BackendContext,
    devices: BlockProvider,
    fileSystem: VolumeFileSystem,
  ) {
    const logger = parentLogger.child({ pool: spec.text })
    const layout = new Layout(devices.home)
    const command = new MountCommand(exec, devices)
    this.spec = spec
    this.#devices = devices
    this.#fileSystem = fileSystem
    this.#layout = layout
    this.#fileSystems = new FileSystems(exec)
    this.#records = new Records(layout)
    this.#reserve = new Reserve(layout.reserve, async () => {})
    this.#notes = new Notes(layout, this.#reserve)
    this.removals = new Trash(layout, devices, this.#reserve, logger)
    this.#mounting = new Mounting(layout, devices, command, this.#fileSystems, logger)
    this.#freeze = new Freeze({ layout, devices, mounting: this.#mounting, command, logger })
    this.#views = new Views(layout, command, logger)
    this.#live = new LiveDatasets({
      ...{ layout, devices, fileSystem, notes: this.#notes, trash: this.removals, mounting: this.#mounting },
      ...{ fileSystems: this.#fileSystems, views: this.#views, template: this.#template },
    })
    this.snapshots = new Snapshots({
      ...{ layout, devices, clock, notes: this.#notes, trash: this.removals, mounting: this.#mounting },
      ...{ fileSystems: this.#fileSystems, views: this.#views, freeze: this.#freeze },
    })
    this.arrivals = { layout, devices, clock, notes: this.#notes, snapshots: this.snapshots }
    this.streams = new Streams({ ...this.arrivals, trash: this.removals, live: this.#live })
    this.trees = new Trees({
      ...{ layout, devices, clock, fileSystem, notes: this.#notes, trash: this.removals, live: this.#live },
      ...{ snapshots: this.snapshots, streams: this.streams, fileSystems: this.#fileSystems, views: this.#views },
      ...{ mounting: this.#mounting, rsync: new RsyncCheck(exec) },
    })
    this.resizing = { resize: (id, sizeBytes) => this.#mounting.exclusively(id, () => this.#resize(id, sizeBytes)) }
  }

  async open(): Promise<void> {
    await this.#devices.open()
    await this.#fileSystems.check(this.#fileSystem)
    try {
      for (const path of [this.#layout.volumes, this.#layout.trash]) {
        await mkdir(path, { recursive: true, mode: 0o700 })
        await chmod(path, 0o700)
      }
      await this.#fileSystems.prepare(this.#template)
    } catch (error) {
      if (!isErrno(error, 'EROFS', 'EACCES', 'EPERM')) throw error
      throw new DroverError('BAD_CONFIG', `pool ${this.spec.text} cannot be written; is it mounted read-only?`, {
        cause: error,
      })
    }
    await syncDirectory(this.#layout.home)
    // First of all: writers may be waiting.
    await this.#freeze.open()
    await this.#views.open()
    await this.#records.tidy()
    for (const name of (await readdir(this.#layout.volumes)).filter(isId)) await this.#dropMakings(volumeId(name))
    this.removals.sweep()
  }

  async close(): Promise<void> {
    await this.removals.close()
    await this.#views.close()
    await this.#devices.close()
  }

  async info(): Promise<PoolInfo> {
    return { spec: this.spec.text, kind: this.spec.kind, ...(await this.#devices.space()) }
  }

  list(): Promise<{ records: DatasetRecord[]; foreign: string[] }> {
    return this.#records.list()
  }

  readRecord(id: VolumeId): Promise<DatasetRecord | null> {
    return this.#records.read(id)
  }

  writeRecord(record: DatasetRecord): Promise<void> {
    return this.#reserve.spend(() => this.#records.write(record))
  }

  create(id: VolumeId, options: { sizeBytes: number | null }): Promise<LiveDataset> {
    return this.#live.create(id, options.sizeBytes)
  }

  live(id: VolumeId, options: { sync?: boolean } = {}): Promise<LiveDataset | null> {
    return this.#live.read(id, options.sync ?? true)
  }

  mount(id: VolumeId, path: string): Promise<void> {
    return this.#mounting.mount(id, path)
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#mounting.unmount(id, path)
  }

  fingerprint(id: VolumeId): Promise<DatasetFingerprint | null> {
    return this.#mounting.fingerprint(id)
  }

  async sync(id: VolumeId): Promise<void> {
    const note = await this.#mounting.note(id)
    if (note === null) throw missing(this.#layout.live(id))
    await this.#mounting.sync(note)
  }

  async destroy(id: VolumeId): Promise<void> {
    const path = this.#layout.volume(id)
    if ((await this.#records.read(id)) === null) {
      if (!(await exists(path))) return
      throw new DroverError(
        'DATASET_FOREIGN',
        `${path} has no record of Drover's and is left alone; remove it by hand if it is not needed`,
      )
    }
    await this.#mounting.exclusively(id, async () => {
      await this.#mounting.refuseIfMounted(id)
      await this.removals.put(id, path)
    })
  }

  async destroyLive(id: VolumeId): Promise<void> {
    await this.#mounting.exclusively(id, async () => {
      await this.#mounting.refuseIfMounted(id)
      await this.removals.put(id, this.#layout.live(id))
      await this.removals.put(id, this.#layout.making(id, 'live'))
    })
  }

  /** What the storage holds for it. A file that was deleted still counts until the file system writes over it. */
  async usage(ids: readonly VolumeId[], options: { exact?: boolean } = {}): Promise<Map<VolumeId, number>> {
    const devices = new Map<string, VolumeId>()
    for (const id of ids) {
      const live = await this.#mounting.note(id)
      if (live !== null && options.exact === true) await this.#mounting.sync(live)
      const device = live?.device ?? (await this.#newestSnapshot(id))
      if (device !== null) devices.set(device, id)
    }
    const bytes = await this.#devices.usedBytes([...devices.keys()], options.exact === true)
    const found = new Map<VolumeId, number>()
    for (const [device, id] of devices) {
      const used = bytes.get(device)
      if (used !== undefined) found.set(id, used)
    }
    return found
  }

  /** A file system holds no other datasets. */
  async nested(id: VolumeId): Promise<string[]> {
    if ((await this.#mounting.note(id)) === null) throw missing(this.#layout.live(id))
    return []
  }

  settled(): Promise<void> {
    return this.removals.settled()
  }

  async #dropMakings(id: VolumeId): Promise<void> {
    for (const what of await notesIn(this.#layout.makings(id))) {
      await this.removals.put(id, this.#layout.making(id, what))
    }
  }

  get #template(): string {
    return join(this.#layout.home, 'template')
  }

  async #newestSnapshot(id: VolumeId): Promise<string | null> {
    const all = await this.snapshots.all(id)
    return all.toSorted((one, other) => one.note.sequence - other.note.sequence).at(-1)?.note.device ?? null
  }

  async #resize(id: VolumeId, sizeBytes: number): Promise<void> {
    const note = await this.#mounting.note(id)
    const bytes = note === null ? null : await this.#devices.sizeBytes(note.device)
    if (note === null || bytes === null) throw missing(this.#layout.live(id))
    const wanted = await this.#devices.whole(sizeBytes)
    if (wanted < bytes) {
      throw new DroverError(
        'BAD_SIZE',
        `volume ${id} has a device of ${formatSize(bytes)}, which cannot become smaller; choose a larger size`,
        { details: { deviceBytes: bytes, sizeBytes } },
      )
    }
    await this.#devices.grow(note.device, wanted)
    await this.#live.growFileSystem(note)
    await this.#notes.write(this.#layout.live(id), { ...note, sizeBytes })
  }
}

const exists = async (path: string): Promise<boolean> => {
  try {
    await lstat(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}
