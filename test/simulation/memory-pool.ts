import type { LiveDataset } from '../../src/backends/backend.ts'
import type { DatasetRecord } from '../../src/domain/dataset.ts'
import type { SharedDisks } from './shared-disks.ts'

/** A subvolume, as btrfs has them. */
export interface Dataset {
  readonly ordinal: number
  readonly uuid: string
  readonly parentUuid: string | null
  receivedUuid: string | null
  readOnly: boolean
  /** By path below it. Shared between snapshots until one is written to. */
  files: Map<string, Uint8Array>
  shared: boolean
  /** The last transaction that touched it at all. */
  generation: number
  /** The last one that changed content. */
  lastChange: number
  readonly bornGeneration: number
  limitBytes: number | null
  readonly createdAt: string
  readonly nested: string[]
}

/** What the pool holds of one volume; `null` as record: somebody else's directory. */
export interface VolumeDirectory {
  record: (DatasetRecord | { readonly formatVersion: number }) | null
  live: Dataset | null
  /** A live dataset that is not whole yet. */
  making: Dataset | null
  snapshots: Map<string, Dataset>
  partials: Map<string, Dataset | null>
  /** On shared disks: the live dataset is on its way from or to another host. */
  passing?: 'leaving' | 'arriving' | null
  /** Of what is arriving: an attach may have been asked for. */
  isTaken?: boolean
  /** The pool for which it was let go last. */
  handedTo?: string | null
}

const copyOf = (directory: VolumeDirectory): VolumeDirectory => ({
  ...directory,
  snapshots: new Map(directory.snapshots),
  partials: new Map(directory.partials),
})

/** ENOSPC, EROFS and the like, as node:fs throws them. */
export const errnoError = (code: string, errno: number): NodeJS.ErrnoException =>
  Object.assign(new Error(code), { code, errno })

/**
 * A disk: it outlives every `vold`. What was not committed when the power fails is lost, but for records and the bytes in files, which
 * are synced one by one.
 */
export class MemoryPool {
  readonly name: string
  readonly totalBytes: number
  volumes = new Map<string, VolumeDirectory>()
  /** Out of sight; the slow part of their removal is still to come. */
  trash: string[] = []
  /** A lie that this disk tells, for tests of the simulation itself. */
  flaw: 'proof' | 'promote' | null = null
  /** So many ms a snapshot takes to be whole once it was taken, as in a cloud; null: it is at once. */
  snapshotMs: number | null = null
  /** Where live datasets are that other machines reach too. */
  disks: SharedDisks | null = null
  /** Told of every record that was written. */
  recordWritten: (record: DatasetRecord) => void = () => {}
  #committed = new Map<string, VolumeDirectory>()
  #ordinal = 0
  #transaction = 1

  /** @param from no two pools of one machine give out the same ordinals */
  constructor(name: string, totalBytes = 2 ** 30, from = 0) {
    this.name = name
    this.totalBytes = totalBytes
    this.#ordinal = from
  }

  get freeBytes(): number {
    let used = 0
    for (const { live, snapshots } of this.volumes.values()) {
      for (const dataset of [live, ...snapshots.values()]) used += dataset === null ? 0 : bytesOf(dataset)
    }
    return Math.max(0, this.totalBytes - 2 ** 20 - used)
  }

  has(dataset: Dataset): boolean {
    return dataset.uuid.startsWith(`${this.name}#`) || this.disks?.has(dataset) === true
  }

  /** The volume's directory, made if needed. */
  directory(id: string): VolumeDirectory {
    const found = this.volumes.get(id)
    if (found !== undefined) return found
    const made: VolumeDirectory = { record: null, live: null, making: null, snapshots: new Map(), partials: new Map() }
    this.volumes.set(id, made)
    return made
  }

  newDataset(createdAt: string): Dataset {
    const generation = ++this.#transaction
    const ordinal = ++this.#ordinal
    return {
      ordinal,
      uuid: `${this.name}#${ordinal}`,
      parentUuid: null,
      receivedUuid: null,
      readOnly: false,
      files: new Map(),
      shared: false,
      generation,
      lastChange: generation,
      bornGeneration: generation,
      limitBytes: null,
      createdAt,
      nested: [],
    }
  }

  /** A snapshot. Taking it moves the generation of what it is taken of to its own. */
  snapshotOf(source: Dataset, readOnly: boolean, createdAt: string): Dataset {
    this.#transaction = Math.max(this.#transaction, source.generation)
    const made = this.newDataset(createdAt)
    source.generation = made.bornGeneration
    source.shared = true
    return {
      ...made,
      parentUuid: source.uuid,
      readOnly,
      files: source.files,
      shared: true,
      lastChange: source.lastChange,
      limitBytes: source.limitBytes,
    }
  }

  /** Changes content: whatever is written becomes durable by itself (fsync). @throws EROFS, EDQUOT, ENOSPC */
  change(dataset: Dataset, work: (files: Map<string, Uint8Array>) => void): void {
    if (dataset.readOnly) throw errnoError('EROFS', -30)
    if (this.disks?.has(dataset) === true && !this.disks.isAttached(dataset, this.name)) throw errnoError('EIO', -5)
    if (dataset.shared) {
      dataset.files = new Map(dataset.files)
      dataset.shared = false
    }
    work(dataset.files)
    this.touch(dataset)
    dataset.lastChange = dataset.generation
  }

  write(dataset: Dataset, path: string, bytes: Uint8Array): void {
    if (dataset.limitBytes !== null || bytes.length > 4096) {
      const before = dataset.files.get(path)?.length ?? 0
      const more = bytes.length - before
      if (dataset.limitBytes !== null && bytesOf(dataset) + more > dataset.limitBytes) throw errnoError('EDQUOT', -122)
      if (more > this.freeBytes) throw errnoError('ENOSPC', -28)
    }
    this.change(dataset, (files) => files.set(path, bytes))
  }

  /** Something that is no change of content: the end of a file that was unlinked before. */
  touch(dataset: Dataset): void {
    // One that comes from another host has been through that one's.
    this.#transaction = Math.max(this.#transaction, dataset.generation) + 1
    dataset.generation = this.#transaction
  }

  /** Everything done so far survives a power failure. */
  commit(): void {
    this.#committed = new Map([...this.volumes].map(([id, directory]) => [id, copyOf(directory)]))
  }

  /** Records are synced when they are written. */
  powerFails(): void {
    const kept = new Map<string, VolumeDirectory>()
    for (const [id, directory] of this.#committed) kept.set(id, copyOf(directory))
    for (const [id, { record }] of this.volumes) {
      if (record === null) continue
      const before = kept.get(id)
      if (before === undefined)
        kept.set(id, { record, live: null, making: null, snapshots: new Map(), partials: new Map() })
      else before.record = record
    }
    this.volumes = kept
    this.commit()
  }
}

export const describe = ({ uuid, generation, limitBytes }: Dataset): LiveDataset => ({
  uuid,
  generation,
  sizeBytes: limitBytes,
})

/** What a dataset takes besides its files' bytes. */
const ownBytes = 16 * 1024

export const bytesOf = (dataset: Dataset): number => {
  let bytes = ownBytes
  for (const content of dataset.files.values()) bytes += content.length
  return bytes
}

/** Bytes of files that are new or other in `now` than in `before`. */
export const changedBytes = (before: Dataset, now: Dataset): number => {
  if (before.files === now.files) return 0
  let bytes = 0
  for (const [path, content] of now.files) if (before.files.get(path) !== content) bytes += content.length
  return bytes
}
