import type {
  Argv,
  Backend,
  DatasetFingerprint,
  LiveDataset,
  ResizingFacet,
  SnapshotFacet,
  StreamFacet,
} from '../../src/backends/backend.ts'
import { Taken } from '../../src/backends/block/taken.ts'
import type { DatasetRecord, SnapshotRecord } from '../../src/domain/dataset.ts'
import { DroverError } from '../../src/domain/errors.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { type PoolInfo, type PoolSpec, parsePoolSpec } from '../../src/domain/pool.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { type Kernel, liveRoot } from './kernel.ts'
import { MemoryHandover } from './memory-handover.ts'
import { bytesOf, changedBytes, type Dataset, describe, type MemoryPool, type VolumeDirectory } from './memory-pool.ts'

/** How the backend touches its pool; a simulation puts time and death in between. */
export interface Hand {
  look<T>(effect: () => T): Promise<T>
  change<T>(what: string, effect: () => T, mayFail?: boolean): Promise<T>
}

/** At once. */
export const quickHand: Hand = { look: async (effect) => effect(), change: async (_, effect) => effect() }

/** A pool in memory that keeps the backend contract, but for what only a real file system has. */
export class MemoryBackend implements Backend {
  readonly spec: PoolSpec
  readonly snapshots: SnapshotFacet
  readonly streams: StreamFacet
  readonly resizing: ResizingFacet
  readonly handover?: MemoryHandover
  readonly #pool: MemoryPool
  readonly #kernel: Kernel
  readonly #hand: Hand
  readonly #now: () => string
  /** Of this process: what it had taken ends with it. */
  readonly #taken = new Map<string, Taken<Dataset>>()

  /** @param clock by which snapshots of a slow pool and shared disks are waited for */
  constructor(pool: MemoryPool, kernel: Kernel, hand: Hand, now: () => string, clock: Clock | null = null) {
    this.#pool = pool
    this.#kernel = kernel
    this.#hand = hand
    this.#now = now
    this.spec = parsePoolSpec(`btrfs:${pool.name}`)
    this.snapshots = {
      ...this.#snapshotFacet(),
      ...(clock === null || pool.snapshotMs === null ? {} : { take: this.#taking(clock, pool.snapshotMs) }),
    }
    this.streams = this.#streamFacet()
    const { disks } = pool
    if (disks !== null && clock !== null) this.handover = new MemoryHandover({ pool, disks, kernel, hand, clock })
    this.resizing = { resize: (id, sizeBytes) => this.#hand.change('resize', () => this.#resize(id, sizeBytes)) }
  }

  async open(): Promise<void> {
    await this.#hand.change('pool.open', () => {
      this.#pool.trash = []
      this.#kernel.mounts = this.#kernel.mounts.filter(({ path }) => !path.startsWith('/snapshots/'))
    })
    for (const [id, { record }] of this.#pool.volumes) {
      // What a crash left between a record and its notes.
      if (record !== null && isOurs(record) && record.role === 'owner') await this.handover?.keep(id as VolumeId)
    }
  }

  async close(): Promise<void> {}

  info(): Promise<PoolInfo> {
    return this.#hand.look(() => ({
      spec: this.spec.text,
      kind: this.spec.kind,
      totalBytes: this.#pool.totalBytes,
      freeBytes: this.#pool.freeBytes,
    }))
  }

  list(): Promise<{ records: DatasetRecord[]; foreign: string[] }> {
    return this.#hand.look(() => {
      const records: DatasetRecord[] = []
      const foreign: string[] = []
      for (const [id, { record }] of this.#pool.volumes) {
        if (record !== null && isOurs(record)) records.push(record)
        else foreign.push(id)
      }
      return { records, foreign }
    })
  }

  readRecord(id: VolumeId): Promise<DatasetRecord | null> {
    return this.#hand.look(() => {
      const record = this.#pool.volumes.get(id)?.record ?? null
      if (record === null || isOurs(record)) return record
      throw new DroverError('DATASET_FOREIGN', `the record of volume ${id} has a newer format; it is left alone`)
    })
  }

  async writeRecord(record: DatasetRecord): Promise<void> {
    const copy: DatasetRecord = structuredClone(record)
    await this.#hand.change(
      `record ${record.role}`,
      () => {
        this.#pool.directory(record.volumeId).record = copy
        this.#pool.recordWritten(copy)
      },
      true,
    )
    if (record.role === 'owner') await this.handover?.keep(record.volumeId)
  }

  create(id: VolumeId, { sizeBytes }: { sizeBytes: number | null }): Promise<LiveDataset> {
    return this.#hand.change('create', () => {
      const directory = this.#pool.directory(id)
      if (directory.live === null) {
        directory.live = this.#pool.newDataset(this.#now())
        directory.live.limitBytes = sizeBytes
        this.#pool.disks?.made(directory.live, this.#pool.name)
        this.#pool.commit()
      }
      return describe(directory.live)
    })
  }

  live(id: VolumeId): Promise<LiveDataset | null> {
    return this.#hand.look(() => {
      const live = this.#pool.volumes.get(id)?.live ?? null
      return live === null ? null : describe(live)
    })
  }

  async mount(id: VolumeId, path: string): Promise<void> {
    if (this.handover !== undefined) {
      // A crash may have come between the record and this.
      if ((await this.readRecord(id))?.role === 'owner') await this.handover.keep(id)
      await this.handover.attach(id)
    }
    await this.#hand.change('mount', () => {
      const live = this.#mustLive(id)
      if (this.#pool.disks?.isAttached(live, this.#pool.name) === false) throw busy(`volume ${id} is not attached`)
      const there = this.#kernel.ownMountAt(path)
      if (there === undefined) this.#kernel.mount(path, 'own', id, live)
      else if (there.dataset !== live) throw busy(`something else is mounted at ${path}`)
    })
  }

  unmount(id: VolumeId, path: string): Promise<void> {
    return this.#hand.change('unmount', () => {
      for (let there = this.#kernel.ownMountAt(path); there !== undefined; there = this.#kernel.ownMountAt(path)) {
        if (there.dataset === null || there.volumeId !== id || !this.#pool.has(there.dataset))
          throw busy(`something else is mounted at ${path}`)
        try {
          this.#kernel.unmount(path)
        } catch {
          throw busy(`${path} is busy`)
        }
      }
    })
  }

  fingerprint(id: VolumeId): Promise<DatasetFingerprint | null> {
    return this.#hand.look(() => {
      const live = this.#pool.volumes.get(id)?.live ?? null
      return live === null ? null : { device: '0:99', root: liveRoot(this.#pool, id), statDevice: live.ordinal }
    })
  }

  sync(id: VolumeId): Promise<void> {
    return this.#hand.change('sync', () => {
      this.#mustLive(id)
      this.#pool.commit()
    })
  }

  async destroy(id: VolumeId): Promise<void> {
    await this.handover?.forget(id)
    await this.#hand.change('destroy', () => {
      const directory = this.#pool.volumes.get(id)
      if (directory === undefined) return
      if (directory.record === null || !isOurs(directory.record)) {
        throw new DroverError('DATASET_FOREIGN', `${id} has no record of Drover's and is left alone`)
      }
      this.#refuseIfMounted(id)
      if (directory.live !== null) this.#pool.disks?.remove(directory.live, this.#pool.name)
      this.#pool.volumes.delete(id)
      this.#pool.commit()
    })
  }

  async destroyLive(id: VolumeId): Promise<void> {
    await this.handover?.forget(id)
    await this.#hand.change('destroyLive', () => {
      const directory = this.#pool.volumes.get(id)
      if (directory === undefined) return
      this.#refuseIfMounted(id)
      if (directory.live !== null) this.#pool.disks?.remove(directory.live, this.#pool.name)
      directory.live = null
      directory.making = null
      this.#pool.commit()
    })
  }

  usage(ids: readonly VolumeId[]): Promise<Map<VolumeId, number>> {
    return this.#hand.look(() => {
      const all = new Map<VolumeId, number>()
      for (const id of ids) {
        const directory = this.#pool.volumes.get(id)
        const shown = directory?.live ?? [...(directory?.snapshots.values() ?? [])].at(-1)
        if (shown !== undefined) all.set(id, bytesOf(shown))
      }
      return all
    })
  }

  nested(id: VolumeId): Promise<string[]> {
    return this.#hand.look(() => [...this.#mustLive(id).nested])
  }

  async settled(): Promise<void> {
    this.#pool.trash = []
  }

  #snapshotFacet(): SnapshotFacet {
    const at = (id: VolumeId, name: string) => this.#pool.volumes.get(id)?.snapshots.get(checked(name)) ?? null
    return {
      create: async (id, name, origin) => {
        checked(name)
        return this.#hand.change(
          'snapshot',
          () => {
            const existing = at(id, name)
            if (existing !== null) return recordOf(name, existing, origin)
            if (this.#pool.volumes.get(id)?.passing != null) throw busy(`volume ${id} is on its way between two hosts`)
            const taken =
              this.#taken.get(`${id} ${name}`)?.use() ?? this.#pool.snapshotOf(this.#mustLive(id), true, this.#now())
            this.#pool.directory(id).snapshots.set(name, taken)
            this.#pool.commit()
            return recordOf(name, taken, origin)
          },
          true,
        )
      },
      list: (id) =>
        this.#hand.look(() =>
          [...(this.#pool.volumes.get(id)?.snapshots ?? [])]
            .toSorted(([, one], [, other]) => one.ordinal - other.ordinal)
            .map(([name, dataset]) => recordOf(name, dataset, 'user')),
        ),
      destroy: (id, name) =>
        this.#hand.change('snapshot.destroy', () => {
          this.#pool.volumes.get(id)?.snapshots.delete(name)
          this.#pool.commit()
        }),
      intact: (id, recorded) =>
        this.#hand.look(() => {
          const found = at(id, recorded.name)
          if (found === null || !found.readOnly || found.uuid !== recorded.uuid) return false
          return streamUuid(found) === recorded.streamUuid && found.lastChange <= recorded.generation
        }),
      unchangedSince: (id, name) =>
        this.#hand.look(() => {
          const live = this.#mustLive(id)
          const taken = at(id, name)
          if (taken === null) throw missing(id)
          if (this.#pool.flaw === 'proof') return true
          if (taken.parentUuid !== live.uuid || !taken.readOnly) return false
          return live.lastChange === taken.lastChange
        }),
      withPath: async (id, name, use) => {
        const mount = await this.#hand.look(() => {
          const found = at(id, name)
          if (found === null) throw missing(id)
          return this.#kernel.mount(`/snapshots${this.#pool.name}/${id}/${name}`, 'own', id, found)
        })
        try {
          return await use(mount.path)
        } finally {
          this.#kernel.mounts = this.#kernel.mounts.filter((other) => other !== mount)
        }
      },
      changedBytes: (id, since) =>
        this.#hand.look(() => {
          const live = this.#mustLive(id)
          const before = at(id, since.name)
          return before === null ? bytesOf(live) : changedBytes(before, live)
        }),
    }
  }

  #taking(clock: Clock, ms: number): NonNullable<SnapshotFacet['take']> {
    return async (id, name, signal) => {
      const key = `${id} ${name}`
      const known = this.#taken.get(key)
      if (known !== undefined) return known
      return this.#hand.change('snapshot.take', () => {
        if (this.#pool.volumes.get(id)?.snapshots.has(name) === true) return null
        const cloned = this.#pool.snapshotOf(this.#mustLive(id), true, this.#now())
        const taken = new Taken({
          ...{ cloned, clock, signal, whole: clock.sleep(ms, signal) },
          forget: () => this.#taken.delete(key),
          drop: async () => {},
        })
        this.#taken.set(key, taken)
        return taken
      })
    }
  }

  #streamFacet(): StreamFacet {
    return {
      format: 'memory-1',
      sendCommand: (id, snapshot, base): Argv => ['memory-send', id, snapshot, base ?? '', this.#pool.name],
      prepareReceive: (id, partial) =>
        this.#hand.change('prepareReceive', (): Argv => {
          const directory = this.#mustDirectory(id)
          directory.partials.set(partial, null)
          return ['memory-receive', id, partial, this.#pool.name]
        }),
      finishReceive: (id, partial, name, expected) =>
        this.#hand.change(
          'finishReceive',
          () => {
            const directory = this.#mustDirectory(id)
            const there = directory.snapshots.get(checked(name))
            const arrived = there ?? directory.partials.get(partial) ?? null
            if (arrived === null) throw missing(id)
            if (!arrived.readOnly || streamUuid(arrived) !== expected) {
              throw new DroverError('STREAM_FAILED', `what arrived of volume ${id} is not snapshot ${expected}`)
            }
            directory.snapshots.set(name, arrived)
            if (there === undefined) directory.partials.delete(partial)
            this.#pool.commit()
            return recordOf(name, arrived, 'move')
          },
          true,
        ),
      abortReceive: (id, partial) =>
        this.#hand.change('abortReceive', () => {
          this.#pool.volumes.get(id)?.partials.delete(partial)
          this.#pool.commit()
        }),
      partials: (id) => this.#hand.look(() => [...(this.#pool.volumes.get(id)?.partials.keys() ?? [])]),
      promote: (id, snapshot, { sizeBytes }) => this.#promote(id, snapshot, sizeBytes),
    }
  }

  /** In two steps, as it is done on a disk: what is called `live` is never half made. */
  async #promote(id: VolumeId, snapshot: string, sizeBytes: number | null): Promise<LiveDataset> {
    const made = await this.#hand.change(
      'promote',
      () => {
        const directory = this.#mustDirectory(id)
        const origin = directory.snapshots.get(snapshot) ?? null
        if (directory.live !== null) {
          if (origin !== null && directory.live.parentUuid === origin.uuid) return directory.live
          throw new DroverError('DIVERGED', `volume ${id} has a live dataset that is not of snapshot ${snapshot}`)
        }
        if (origin === null) throw missing(id)
        directory.making = this.#pool.snapshotOf(origin, false, this.#now())
        directory.making.limitBytes = sizeBytes
        return directory.making
      },
      true,
    )
    return this.#hand.change('promote.rename', () => {
      const directory = this.#mustDirectory(id)
      if (directory.live !== made) directory.live = made
      this.#pool.disks?.made(made, this.#pool.name)
      directory.making = null
      if (this.#pool.flaw !== 'promote') this.#pool.commit()
      return describe(made)
    })
  }

  #resize(id: VolumeId, sizeBytes: number): void {
    const live = this.#mustLive(id)
    if (sizeBytes < bytesOf(live)) throw new DroverError('BAD_SIZE', `volume ${id} uses ${bytesOf(live)} bytes`)
    live.limitBytes = sizeBytes
  }

  #mustDirectory(id: VolumeId): VolumeDirectory {
    const found = this.#pool.volumes.get(id)
    if (found !== undefined) return found
    throw missing(id)
  }

  #mustLive(id: VolumeId): Dataset {
    const live = this.#pool.volumes.get(id)?.live ?? null
    if (live !== null) return live
    throw missing(id)
  }

  #refuseIfMounted(id: VolumeId): void {
    const live = this.#pool.volumes.get(id)?.live ?? null
    if (live !== null && this.#kernel.mounts.some(({ dataset }) => dataset === live)) {
      throw busy(`volume ${id} is mounted`)
    }
  }
}

const isOurs = (record: { readonly formatVersion: number }): record is DatasetRecord => record.formatVersion === 1

const streamUuid = (dataset: Dataset): string => dataset.receivedUuid ?? dataset.uuid

const recordOf = (name: string, dataset: Dataset, origin: SnapshotRecord['origin']): SnapshotRecord => ({
  name,
  uuid: dataset.uuid,
  streamUuid: streamUuid(dataset),
  generation: Math.max(dataset.bornGeneration, dataset.lastChange),
  createdAt: dataset.createdAt,
  origin,
})

const checked = (name: string): string => {
  if (/^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,199}$/.test(name)) return name
  throw new DroverError('BAD_NAME', `snapshot name ${JSON.stringify(name)} cannot be used`)
}

const missing = (id: string): DroverError =>
  new DroverError('DATASET_MISSING', `volume ${id} has no such dataset on this pool`)

const busy = (text: string): DroverError => new DroverError('VOLUME_BUSY', `${text}; it is left alone`)
