import type { DatasetRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { PoolInfo, PoolSpec } from '../../domain/pool.ts'
import { formatSize } from '../../domain/units.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Backend, BackendContext, DatasetFingerprint, LiveDataset, NewDataset, ResizingFacet } from '../backend.ts'
import { RsyncCheck } from '../tree/rsync.ts'
import { inventoryOf } from './inventory.ts'
import { LiveDatasets } from './live-datasets.ts'
import { Mounting } from './mounting.ts'
import { Names } from './names.ts'
import { Options } from './options.ts'
import { wholeNumber } from './parse.ts'
import { checkPool } from './pool-check.ts'
import { PrivateMounts } from './private-mounts.ts'
import { Records } from './records.ts'
import { Snapshots } from './snapshots.ts'
import { Streams } from './streams.ts'
import { Trash } from './trash.ts'
import { Trees } from './trees.ts'
import { usageOf } from './usage.ts'
import { missing, ZfsCommand } from './zfs-command.ts'

/** A dataset of OpenZFS 2.2 or newer, such as `zfs:tank/drover`; names.ts says what lies where. */
export class ZfsBackend implements Backend {
  readonly spec: PoolSpec
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly trees: Trees
  readonly resizing: ResizingFacet
  readonly removals: Trash
  readonly options: Options
  readonly #names: Names
  readonly #command: ZfsCommand
  readonly #records: Records
  readonly #private: PrivateMounts
  readonly #mounting: Mounting
  readonly #live: LiveDatasets
  readonly #clock: Clock
  #sequence = 0

  constructor({ spec, exec, logger: parentLogger, clock }: BackendContext) {
    const logger = parentLogger.child({ pool: spec.text })
    const names = new Names(spec.where)
    const command = new ZfsCommand(exec)
    this.spec = spec
    this.#names = names
    this.#command = command
    this.#clock = clock
    this.#records = new Records(names, command)
    this.#private = new PrivateMounts(names.pool, command)
    this.#mounting = new Mounting(names, command, this.#private, logger)
    this.removals = new Trash(names, command, logger, clock)
    const base = { names, command, mounting: this.#mounting, privateMounts: this.#private, trash: this.removals, clock }
    this.#live = new LiveDatasets(base)
    this.snapshots = new Snapshots({ ...base, live: this.#live })
    this.streams = new Streams({ ...base, live: this.#live })
    this.options = new Options(names.pool, command)
    const { snapshots, streams } = this
    this.trees = new Trees({ ...base, snapshots, streams, rsync: new RsyncCheck(exec) })
    this.resizing = { resize: (id, sizeBytes) => this.#resize(id, sizeBytes) }
  }

  async open(): Promise<void> {
    await checkPool(this.spec.text, this.#names, this.#command)
    await this.removals.prepare()
    await this.#private.sweep()
    this.removals.sweep()
  }

  async close(): Promise<void> {
    await this.removals.close()
  }

  async info(): Promise<PoolInfo> {
    const { pool } = this.#names
    const found = (await this.#command.get(pool, ['used', 'available']))?.get(pool)
    if (found === undefined) throw missing(pool)
    const freeBytes = wholeNumber('zfs get available', found.get('available'))
    const totalBytes = freeBytes + wholeNumber('zfs get used', found.get('used'))
    return { spec: this.spec.text, kind: this.spec.kind, totalBytes, freeBytes }
  }

  list(): Promise<{ records: DatasetRecord[]; foreign: string[] }> {
    return this.#records.list()
  }

  readRecord(id: VolumeId): Promise<DatasetRecord | null> {
    return this.#records.read(id)
  }

  writeRecord(record: DatasetRecord): Promise<void> {
    return this.#records.write(record)
  }

  create(id: VolumeId, options: NewDataset): Promise<LiveDataset> {
    return this.#live.create(id, options)
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

  sync(id: VolumeId): Promise<void> {
    return this.#live.sync(id)
  }

  async destroy(id: VolumeId): Promise<void> {
    const dataset = this.#names.volume(id)
    if ((await this.#records.read(id)) === null) {
      if ((await this.#command.get(dataset, ['guid'])) === null) return
      throw new DroverError(
        'DATASET_FOREIGN',
        `${dataset} has no record of Drover's and is left alone; remove it by hand if it is not needed`,
      )
    }
    await this.#mounting.refuseIfMounted(id)
    await this.removals.put(dataset, id)
  }

  /** Where it has snapshots, they stay, and what was written after the newest goes. */
  async destroyLive(id: VolumeId): Promise<void> {
    const live = this.#names.live(id)
    await this.#mounting.refuseIfMounted(id)
    const there = await inventoryOf(this.#command, this.#names, id)
    const newest = there?.snapshots.findLast(({ dataset }) => dataset === live)
    if (newest === undefined) await this.removals.put(live, `${id}-live`)
    else {
      await this.#live.forgetGeneration(id)
      // They serve a live dataset only, and one that is newer than the snapshot would be in the way of going back to it.
      for (const { name } of (there?.bookmarks ?? []).filter(({ dataset }) => dataset === live)) {
        await this.#command.destroySnapshot(`${live}#${name}`)
      }
      const kept = this.#names.kept(id, `${this.#clock.now().toString(36)}-l${this.#sequence++}`)
      await this.#command.rename(live, kept)
      await this.#command.set(kept, { canmount: 'off', mountpoint: 'none', readonly: 'on', refquota: 'none' })
      await this.#command.rollback(`${kept}@${newest.name}`)
    }
    await this.removals.put(this.#names.making(id), `${id}-making`)
  }

  usage(ids: readonly VolumeId[], options: { exact?: boolean } = {}): Promise<Map<VolumeId, number>> {
    return usageOf({ names: this.#names, command: this.#command, live: this.#live }, ids, options.exact === true)
  }

  /** The innermost ones: the way there is in their paths. */
  async nested(id: VolumeId): Promise<string[]> {
    const live = this.#names.live(id)
    const rows = await this.#command.list(live, ['name'], { types: 'filesystem,volume' })
    if (rows === null) throw missing(live)
    const below = rows.map(([name = '']) => name).filter((name) => name !== live)
    return below
      .filter((name) => !below.some((other) => other.startsWith(`${name}/`)))
      .map((name) => name.slice(live.length + 1))
  }

  settled(): Promise<void> {
    return this.removals.settled()
  }

  async #resize(id: VolumeId, sizeBytes: number): Promise<void> {
    const live = this.#names.live(id)
    if ((await this.#command.get(live, ['guid'])) === null) throw missing(live)
    const used = (await this.usage([id], { exact: true })).get(id) ?? 0
    if (sizeBytes < used) {
      throw new DroverError(
        'BAD_SIZE',
        `volume ${id} uses ${formatSize(used)}, more than ${formatSize(sizeBytes)}; choose a larger size`,
        { details: { usedBytes: used, sizeBytes } },
      )
    }
    await this.#command.set(live, { refquota: String(sizeBytes) })
  }
}
