import type { DatasetRecord, SnapshotRecord } from '../domain/dataset.ts'
import type { DatasetOptions } from '../domain/dataset-options.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { PoolInfo, PoolSpec } from '../domain/pool.ts'
import type { Clock } from '../lib/clock.ts'
import type { Exec } from '../lib/exec.ts'
import type { Logger } from '../lib/logger.ts'
import type { CallBudget } from './block/ebs/budget.ts'

/** What every backend's constructor takes. */
export interface BackendContext {
  readonly spec: PoolSpec
  readonly exec: Exec
  readonly logger: Logger
  readonly clock: Clock
  readonly cloud?: CloudContext
}

/** What pools on disks of a cloud need of their host: what they have elsewhere must be known for this cluster's, and noted here. */
export interface CloudContext {
  /** A directory for notes, on a disk of this host. */
  readonly notes: string
  /** Asked each time: a host may join another cluster. */
  readonly cluster: () => string
  /** One for all pools of this host. */
  readonly budget: CallBudget
}

/**
 * One pool of storage on this host. Every pool passes the same contract suite (test/contract/backend-suite.ts).
 *
 * A backend stores bytes and the dataset record; it decides nothing about ownership, and knows no HTTP, no Docker
 * and no store. Every mutation is idempotent: done twice it gives the same state, done to the absent it either
 * succeeds (removals) or fails with DATASET_MISSING (everything else). It looks at the world, never at a memory of
 * its own. It touches nothing on the pool that Drover did not make.
 */
export interface Backend {
  readonly spec: PoolSpec

  /**
   * Checks the pool and makes Drover's directories on it. Continues removals that a crash interrupted.
   * @throws MISSING_PROGRAM, NOT_PERMITTED, BAD_CONFIG (no such place, wrong file system) with one clear line.
   */
  open(): Promise<void>

  /** Lets go of what `open` took (watchers, background work). Leaves mounts alone. */
  close(): Promise<void>

  info(): Promise<PoolInfo>

  /** Volumes that have a record on this pool, with their records; unreadable or newer records are left out and reported. */
  list(): Promise<{ records: DatasetRecord[]; foreign: string[] }>

  /** The record, or null when this pool holds nothing of the volume. @throws DATASET_FOREIGN for a newer format. */
  readRecord(id: VolumeId): Promise<DatasetRecord | null>

  /** Durable when it returns (temporary name, fsync, rename, fsync of the parent). Makes the volume's directory if needed. */
  writeRecord(record: DatasetRecord): Promise<void>

  /**
   * Makes an empty live dataset with an empty `data` directory in it, and enforces `sizeBytes` (null: no limit).
   * An existing live dataset is left as it is, its bytes untouched.
   */
  create(id: VolumeId, options: NewDataset): Promise<LiveDataset>

  /**
   * The live dataset as it is now, all earlier writes counted (it syncs first); null when there is none. With
   * `sync: false` generation and size may lag behind and no disk is waited for: enough to know the uuid.
   */
  live(id: VolumeId, options?: { sync?: boolean }): Promise<LiveDataset | null>

  /** Mounts the live dataset at `path` (made if needed), private. Already mounted there: nothing is done, never a second layer. */
  mount(id: VolumeId, path: string): Promise<void>

  /**
   * Unmounts every layer at `path` and removes the directory. Never lazy, never forced.
   * @throws VOLUME_BUSY when the file system is busy.
   */
  unmount(id: VolumeId, path: string): Promise<void>

  /**
   * How mounts and open files of the live dataset can be recognised in /proc. Null when there is none, and while it is on no device that
   * could be mounted: nobody uses it then.
   */
  fingerprint(id: VolumeId): Promise<DatasetFingerprint | null>

  /** Everything written so far is on disk when this returns. */
  sync(id: VolumeId): Promise<void>

  /**
   * Removes the volume from this pool. Quick whatever its size: it is renamed out of sight durably, the slow part goes
   * on in the background and is taken up again by `open`. The absent is a success.
   * @throws VOLUME_BUSY while any mount namespace has it mounted, DATASET_FOREIGN when it holds no record of ours.
   */
  destroy(id: VolumeId): Promise<void>

  /**
   * Removes the live dataset, and what a crash left of one in the making, durably; snapshots and record stay. The absent is a success.
   * @throws VOLUME_BUSY
   */
  destroyLive(id: VolumeId): Promise<void>

  /**
   * Bytes that the live dataset (or else its newest snapshot) refers to, by volume; cheap for a thousand volumes. Not yet known: left
   * out. With `exact` everything written so far counts, whatever that takes, and only what this pool does not hold is left out.
   */
  usage(ids: readonly VolumeId[], options?: { exact?: boolean }): Promise<Map<VolumeId, number>>

  /** Paths, within the volume, of subvolumes or datasets nested in the live dataset. */
  nested(id: VolumeId): Promise<string[]>

  /** Resolves when background removals have ended. */
  settled(): Promise<void>

  readonly removals?: RemovalFacet
  readonly snapshots?: SnapshotFacet
  readonly streams?: StreamFacet
  readonly trees?: TreeFacet
  readonly sharedSnapshots?: SharedSnapshotFacet
  readonly resizing?: ResizingFacet
  readonly options?: OptionsFacet
  readonly handover?: HandoverFacet
}

/** What one pool tells another of the same storage of a dataset, as JSON, in words of their own. */
export interface Handover {
  readonly live: unknown
  readonly storage: unknown
}

/**
 * The live dataset itself can go from one host to another that reaches the same storage: nothing is sent. While it is between the two, removing it from
 * either pool removes what that one has noted, never the data; `writeRecord` with role `owner` makes it a pool's own (again).
 */
export interface HandoverFacet {
  /** Pools that say the same reach the same storage in the same way. */
  reach(): Promise<string>
  /** What that storage knows this host by. */
  place(): Promise<string>
  /** For the other pool. @param to the place of its host, which is noted, and nothing else changed; null: not known @throws DATASET_MISSING */
  describe(id: VolumeId, to: string | null): Promise<Handover>
  /**
   * Everything written is on the storage, and this host cannot reach it any more, when it returns; nor does it until it is the owner's again. Nobody
   * has it mounted. @throws VOLUME_BUSY, TIMED_OUT
   */
  letGo(id: VolumeId): Promise<void>
  /** It is this pool's live dataset by its notes alone; the storage is not reached. Again: the same. @throws DIVERGED when there is another one, VOLUME_BUSY */
  expect(id: VolumeId, handover: Handover): Promise<LiveDataset>
  /** What is expected can be reached by this host, and by no other, when it returns. @throws VOLUME_BUSY, DATASET_MISSING, DATASET_FOREIGN, NO_SPACE, TIMED_OUT */
  take(id: VolumeId): Promise<void>
  /**
   * An operator has said that the host for which it was described last is gone for good: it is taken from there, where it does not let go in time by
   * force, and from nobody else. This host's record says `owner`. @throws VOLUME_BUSY when yet another has it, DATASET_FOREIGN, TIMED_OUT
   */
  reclaim(id: VolumeId): Promise<void>
}

export interface NewDataset {
  /** Enforced; null: no limit but the pool's. */
  readonly sizeBytes: number | null
  /** Without the OptionsFacet they mean nothing. */
  readonly options?: DatasetOptions
}

/** Datasets can be made with options (domain/dataset-options.ts). */
export interface OptionsFacet {
  /** @throws BAD_REQUEST when this pool cannot make a dataset with them */
  check(options: DatasetOptions): Promise<void>
}

export interface LiveDataset {
  /** The pool's own identity of it (btrfs: subvolume UUID). */
  readonly uuid: string
  /** Grows with every change, and never shrinks; where a mount or a read writes, with these too (btrfs: generation). */
  readonly generation: number
  readonly sizeBytes: number | null
}

export interface DatasetFingerprint {
  /** `major:minor` in mountinfo of the file system. */
  readonly device: string
  /** mountinfo roots equal to this, or below it, are mounts of the live dataset. */
  readonly root: string
  /** st_dev of files in it, as fs.stat gives it. */
  readonly statDevice: number
}

/** Where removal has a slow part that may end badly. */
export interface RemovalFacet {
  /** What was to be removed, is still there, and is not being worked on. */
  stuck(): Promise<string[]>
  /** Tries them again. Resolves when that has ended, well or not. */
  retry(): Promise<void>
}

export interface SnapshotFacet {
  /** Read-only, durable when it returns. An existing snapshot of that name is returned as it is. @throws DATASET_MISSING */
  create(id: VolumeId, name: string, origin: SnapshotRecord['origin']): Promise<SnapshotRecord>
  /**
   * Where a snapshot is whole only some time after it was taken (a cloud copies it away): takes it, and returns at once. `create` of that name then makes
   * it the snapshot, and waits no more when it is whole. Absent: `create` alone is quick. Null: it is one already.
   * @param signal at which what was taken is given up and removed @throws DATASET_MISSING
   */
  take?(id: VolumeId, name: string, signal: AbortSignal): Promise<TakenSnapshot | null>
  /** What is on the pool, oldest first, as it is now. `origin` is `user` where the pool cannot tell. */
  list(id: VolumeId): Promise<SnapshotRecord[]>
  /** Durable when it returns. The absent is a success. */
  destroy(id: VolumeId, name: string): Promise<void>
  /** Still there, still read-only, same uuid, nothing changed in it after `generation`: fit to be a base. Using it as one does not change it. */
  intact(id: VolumeId, recorded: SnapshotRecord): Promise<boolean>
  /**
   * The unchanged proof: nothing was written to the live dataset since this snapshot was made of it. Syncs first. Not fooled by
   * what changes no content, such as the end of a file that was unlinked but open. `quick`: false also where something was written, and all of the
   * volume would have to be read to tell whether that changed anything. @throws DATASET_MISSING
   */
  unchangedSince(id: VolumeId, name: string, options?: { readonly quick?: boolean }): Promise<boolean>
  /**
   * Gives `use` a directory that shows the snapshot, as it is now, read-only, for as long as it runs. What must be mounted for that is
   * mounted privately and taken down after; what a crash left of it, by `open`. @throws DATASET_MISSING
   */
  withPath<T>(id: VolumeId, name: string, use: (path: string) => Promise<T>): Promise<T>
  /** Does what takes long of `withPath`, for who would rather ask again than wait. Absent: nothing does. @throws DATASET_MISSING, NO_SPACE */
  prefetch?(id: VolumeId, name: string): Promise<void>
  /**
   * An estimate of the bytes that changed in the live dataset since the snapshot was made. A cloud may take longer over it while the writers run than while
   * they stand. @param options.signal aborted: nobody waits for it any more
   */
  changedBytes(
    id: VolumeId,
    since: SnapshotRecord,
    options?: { readonly writers?: 'running' | 'standing'; readonly signal?: AbortSignal },
  ): Promise<number>
}

/** A snapshot that holds what it is to hold, and is not whole yet. */
export interface TakenSnapshot {
  /** Answers as soon as it is, false after `patienceMs`. @throws what went wrong, or the signal's reason; it is given up then */
  isWhole(patienceMs: number): Promise<boolean>
}

export type Argv = readonly [string, ...string[]]

/** Streams are processes: one writes the stream to its stdout, one reads it from its stdin. */
export interface StreamFacet {
  /** Streams of the same format can be received by each other's pools. */
  readonly format: string
  /** The newest version of the format that this pool reads and writes, and all before it; absent: 1. */
  readonly version?: number
  /**
   * A directory on the file system that received streams are written to, when that keeps much of them in memory: it is synced again and
   * again while one comes in, so that the end, for which writers wait, need not wait for all of it.
   */
  readonly landing?: string
  /** Full without a base. Both are snapshots of this volume. @param version what the other pool reads */
  sendCommand(id: VolumeId, snapshot: string, base: string | null, version?: number): Argv | Promise<Argv>
  /**
   * Makes an empty place `partial` for it (named after the move) and clears what an earlier try left there. `baseUuid` is the stream
   * identity of the snapshot here that the stream goes upon; null or left out: it is whole. Where the stream itself names its base
   * (btrfs), it is not looked at.
   */
  prepareReceive(id: VolumeId, partial: string, baseUuid?: string | null): Promise<Argv>
  /**
   * After the process ended well: proves that what arrived is the snapshot that was sent, makes it the snapshot
   * `name` of the volume, read-only, synced to disk. Repeated after success it returns the same.
   * @throws STREAM_FAILED when the identity is another, DATASET_MISSING when nothing arrived.
   */
  finishReceive(id: VolumeId, partial: string, name: string, expectedStreamUuid: string): Promise<SnapshotRecord>
  /** Removes the partial, durably. The absent is a success. */
  abortReceive(id: VolumeId, partial: string): Promise<void>
  /** Partials that exist, of all moves. */
  partials(id: VolumeId): Promise<string[]>
  /** A writable live dataset from the snapshot, limit enforced, durable when it returns. Exists already and came from that snapshot: left as it is. */
  promote(id: VolumeId, snapshot: string, options: NewDataset): Promise<LiveDataset>
  readonly resuming?: ResumingFacet
}

/** A stream that was cut off goes on where it was, although both its processes have ended. */
export interface ResumingFacet {
  /**
   * What the partial has of the stream of the snapshot `streamUuid` upon `baseUuid`: a token of it for the sender, and the command that
   * receives the rest. Null: nothing that could go on; then `prepareReceive` begins anew.
   */
  resumeReceive(
    id: VolumeId,
    partial: string,
    stream: { streamUuid: string; baseUuid: string | null },
  ): Promise<{ token: string; argv: Argv } | null>
  /** Writes the rest. @throws STREAM_FAILED when the token is of another stream, DATASET_MISSING */
  resumeSend(id: VolumeId, snapshot: string, base: string | null, token: string): Promise<Argv>
}

/**
 * Where a snapshot of a pool of another kind is received, file by file: a writable file system or subvolume, which becomes a snapshot
 * when it is whole. What is written to it, and by whom, is no matter of the pool's (tree/ holds the stream). Partials are those of the
 * StreamFacet, whose `partials`, `abortReceive` and `promote` serve these too.
 */
export interface TreeFacet {
  /** By so much a snapshot's `createdAt` may be later than its making began (default: not at all): what is sent upon it is looked at the closer. */
  readonly datedLateMs?: number
  /** @throws MISSING_PROGRAM when what writes and reads such streams is not installed */
  check(): Promise<void>
  /**
   * Makes the place `partial`: a writable copy of the snapshot `base`; without one an empty `data`. What an earlier try left there goes.
   * `sizeBytes` is enforced while it is written (null: no limit but the pool's). @throws DATASET_MISSING, NO_SPACE, BAD_SIZE
   */
  prepareReceive(id: VolumeId, partial: string, base: string | null, options: NewDataset): Promise<void>
  /** Gives `use` a directory that shows the partial, and a path for its proof (tree/receive.ts), for as long as it runs. @throws DATASET_MISSING */
  withPartial<T>(id: VolumeId, partial: string, use: (place: TreePlace) => Promise<T>): Promise<T>
  /**
   * Makes what was proved to be the snapshot `identity` the snapshot `name` of the volume, read-only, synced to disk. Here it has an
   * identity of its own: nothing that is native to the pool goes upon it as if it were the one that was sent. Repeated after success it
   * returns the same. @throws STREAM_FAILED when the proof is of another, DATASET_MISSING when nothing arrived
   */
  finishReceive(id: VolumeId, partial: string, name: string, identity: string): Promise<SnapshotRecord>
}

export interface TreePlace {
  readonly path: string
  readonly proofPath: string
}

/**
 * The storage keeps snapshots where pools on other hosts find them too: only what a snapshot is known by is sent, a few bytes, and each is received
 * whole. One that came so from the same place stays the other pool's: who removes it here removes notes; from another place the storage copies it. Partials are those of the StreamFacet, whose `partials`,
 * `abortReceive` and `promote` serve these too.
 */
export interface SharedSnapshotFacet {
  /** Pools of the same `reach` find each other's snapshots; of the same `place` too, without a copy of them. */
  reach(): Promise<{ readonly reach: string; readonly place: string }>
  /** Tells of a snapshot that is whole. @throws DATASET_MISSING */
  sendCommand(id: VolumeId, snapshot: string): Promise<Argv>
  /** Makes the place `partial` for what is told, and clears what an earlier try left there. */
  prepareReceive(id: VolumeId, partial: string): Promise<Argv>
  /**
   * Proves by the storage's own word that what was told of is there, whole, and of this volume, and makes it the snapshot `name`. Repeated after
   * success it returns the same. @throws STREAM_FAILED when the identity is another, or the storage says otherwise, DATASET_MISSING when nothing arrived,
   * TIMED_OUT with `pending` among its details while the storage copies it: to be asked again
   */
  finishReceive(id: VolumeId, partial: string, name: string, expectedStreamUuid: string): Promise<SnapshotRecord>
}

export interface ResizingFacet {
  /** Mounted or not. @throws BAD_SIZE when less than is used, or than a device that cannot become smaller. */
  resize(id: VolumeId, sizeBytes: number): Promise<void>
}
