import { chmod, lstat, mkdir, statfs } from 'node:fs/promises'
import type { DatasetRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { PoolInfo, PoolSpec } from '../../domain/pool.ts'
import { formatSize } from '../../domain/units.ts'
import { isErrno, syncDirectory } from '../../lib/files.ts'
import type { Backend, BackendContext, DatasetFingerprint, LiveDataset, ResizingFacet } from '../backend.ts'
import { Records } from '../records.ts'
import { Reserve } from '../reserve.ts'
import { RsyncCheck } from '../tree/rsync.ts'
import { BtrfsCommand } from './btrfs-command.ts'
import { KnownLive } from './known-live.ts'
import { Layout } from './layout.ts'
import { LiveDatasets } from './live-datasets.ts'
import { Mounting } from './mounting.ts'
import { checkPool, placeOf } from './pool-check.ts'
import { Quota } from './quota.ts'
import { missing, Snapshots } from './snapshots.ts'
import { Streams } from './streams.ts'
import { Trash } from './trash.ts'
import { Trees } from './trees.ts'
import { Usage } from './usage.ts'

/** A directory on a mounted btrfs; layout.ts says what lies where. */
export class BtrfsBackend implements Backend {
  readonly spec: PoolSpec
  readonly removals: Trash
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly trees: Trees
  readonly resizing: ResizingFacet
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #records: Records
  readonly #mounting: Mounting
  readonly #live: LiveDatasets
  readonly #known: KnownLive
  readonly #quota: Quota
  readonly #reserve: Reserve
  readonly #usage: Usage

  constructor({ spec, exec, logger: parentLogger, clock }: BackendContext) {
    const logger = parentLogger.child({ pool: spec.text })
    this.spec = spec
    this.#layout = new Layout(spec.where)
    this.#command = new BtrfsCommand(exec)
    this.#records = new Records(this.#layout)
    this.#mounting = new Mounting(this.#layout, this.#command, logger)
    this.#quota = new Quota(spec.where, this.#command, logger)
    this.#reserve = new Reserve(this.#layout.reserve, () => this.#command.sync(spec.where))
    this.removals = new Trash(this.#layout, this.#command, this.#reserve, logger, clock)
    this.#usage = new Usage(this.#layout, this.#command, this.removals, clock)
    this.#known = new KnownLive(this.#layout, this.#command, clock)
    this.#live = new LiveDatasets(this.#layout, this.#command, this.#quota, this.removals, this.#known)
    this.snapshots = new Snapshots(this.#layout, this.#command, this.#quota, this.removals)
    this.streams = new Streams(this.#layout, this.#command, this.snapshots, this.#live, this.removals)
    this.trees = new Trees({
      ...{ layout: this.#layout, command: this.#command, quota: this.#quota, trash: this.removals },
      ...{ snapshots: this.snapshots, streams: this.streams, rsync: new RsyncCheck(exec) },
    })
    this.resizing = { resize: (id, sizeBytes) => this.#resize(id, sizeBytes) }
  }

  async open(): Promise<void> {
    await checkPool(this.spec.text, this.#layout.where)
    try {
      for (const path of [this.#layout.volumes, this.#layout.trash]) {
        await mkdir(path, { recursive: true, mode: 0o700 })
        await chmod(path, 0o700)
      }
    } catch (error) {
      if (!isErrno(error, 'EROFS', 'EACCES', 'EPERM')) throw error
      throw new DroverError('BAD_CONFIG', `pool ${this.spec.text} cannot be written; is it mounted read-only?`, {
        cause: error,
      })
    }
    await syncDirectory(this.#layout.where)
    await this.#records.tidy()
    await this.streams.open()
    await this.#command.list(this.#layout.volumes, 'below')
    this.removals.sweep()
  }

  async close(): Promise<void> {
    await Promise.all([this.removals.close(), this.#usage.close()])
  }

  async info(): Promise<PoolInfo> {
    const { blocks, bavail, bsize } = await statfs(this.#layout.where)
    return { spec: this.spec.text, kind: this.spec.kind, totalBytes: blocks * bsize, freeBytes: bavail * bsize }
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
    await this.#command.sync(this.#layout.live(id))
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
    await this.#mounting.refuseIfMounted(id)
    await this.removals.put(path, id)
  }

  async destroyLive(id: VolumeId): Promise<void> {
    await this.#mounting.refuseIfMounted(id)
    await this.removals.put(this.#layout.live(id), `${id}-live`)
    await this.removals.put(this.#layout.liveMaking(id), `${id}-making`)
  }

  usage(ids: readonly VolumeId[], options: { exact?: boolean } = {}): Promise<Map<VolumeId, number>> {
    return options.exact === true ? this.#usage.exactly(ids) : this.#usage.of(ids)
  }

  async nested(id: VolumeId): Promise<string[]> {
    const live = this.#layout.live(id)
    const { root } = await placeOf(this.#layout.where)
    const prefix = `${root}/volumes/${id}/live/`.slice(1)
    return (await this.#command.list(live, 'below')).map(({ path }) =>
      path.startsWith(prefix) ? path.slice(prefix.length) : path,
    )
  }

  settled(): Promise<void> {
    return this.removals.settled()
  }

  async #resize(id: VolumeId, sizeBytes: number): Promise<void> {
    const path = this.#layout.live(id)
    const live = await this.#command.show(path)
    if (live === null) throw missing(path)
    const used = (await this.#usage.exactly([id])).get(id) ?? 0
    if (sizeBytes < used) {
      throw new DroverError(
        'BAD_SIZE',
        `volume ${id} uses ${formatSize(used)}, more than ${formatSize(sizeBytes)}; choose a larger size`,
        {
          details: { usedBytes: used, sizeBytes },
        },
      )
    }
    await this.#quota.limit(path, sizeBytes)
    this.#known.forget(id)
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
