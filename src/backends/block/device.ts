import type { VolumeId } from '../../domain/ids.ts'
import type { Range } from './differences.ts'

/**
 * What gives out block devices: sparse files in a directory (loop.ts), thin volumes of LVM, disks of a cloud. A provider knows devices and
 * nothing of file systems, volumes or notes; block-backend.ts does the rest over any of them.
 *
 * Devices are named by their volume and a random UUID, noted durably *before* the device is asked for: so whatever bears a noted name was
 * made by Drover, and what no note names is never touched. Every call is idempotent, removals succeed on the absent.
 */
export interface BlockProvider {
  /** A directory for the notes, on storage that lives and dies with the devices. */
  readonly home: string

  /** Checks that all it needs is here. Makes nothing but directories of its own. @throws BAD_CONFIG, NOT_PERMITTED, MISSING_PROGRAM */
  open(): Promise<void>
  close(): Promise<void>
  /** Bytes of the whole, and free for new devices. */
  space(): Promise<{ totalBytes: number; freeBytes: number }>

  /** What a volume without a size gets. Default: all of the space, up to a limit. */
  readonly defaultBytes?: number
  /** The size that a device for so many bytes has. */
  whole(bytes: number): Promise<number>
  /**
   * A new device that reads as zeros; of 0 bytes: as small as can be, `sizing` says how it gets its size. One of that name is an error:
   * nothing is formatted that was there before. @throws NO_SPACE
   */
  create(device: string, sizeBytes: number): Promise<void>
  /** Null: there is none. */
  sizeBytes(device: string): Promise<number | null>
  /** Never smaller. What has it mounted sees the new size at once. @throws DATASET_MISSING, NO_SPACE */
  grow(device: string, sizeBytes: number): Promise<void>
  /** For a device that nobody has attached: cuts the end off. */
  shrink(device: string, sizeBytes: number): Promise<void>
  /**
   * Another device with the same bytes; `from` is written by nobody meanwhile, unless `clonesMounted`. Durable when it returns.
   * `toBeSealed`: nobody will write to it. `signal`: once aborted nobody waits for it any more, and what there may be of it is removed as ever.
   * @throws DATASET_MISSING, NO_SPACE, the signal's reason
   */
  clone(from: string, to: string, options?: { toBeSealed: boolean; signal?: AbortSignal | undefined }): Promise<void>
  /** The kernel itself freezes what is mounted for as long as it is being cloned. Without it, that is up to the caller. */
  readonly clonesMounted: boolean
  /** Where `device` may differ from `base` or, without one, may hold anything but zeros. Both were synced before. */
  ranges(device: string, base: string | null): Promise<RangeSource>
  /** How a sealed device is read, and upon which base, without paths. Null, or absent: by its path, and where `ranges` says. */
  content?(device: string, base: string | null): Promise<SnapshotContent | null>
  /**
   * Steps of 4 KiB in which the two differ, up to `sizeBytes`, found without their paths; to be gone through at once. Both were synced before. How long that
   * may take depends on whether the device's writers run meanwhile. Null, or absent: they have to be read. @throws TIMED_OUT on its way
   */
  changes?(device: string, base: string, sizeBytes: number, writers: Writers): Promise<AsyncIterable<Range> | null>
  /** How who receives a stream gives the device the size that the stream names. */
  sizing(device: string): Sizing
  /**
   * A new device for a stream upon `base`, which is sealed, or upon nothing; where the stream goes, `sizing` says when its size is known. Absent: `create`
   * of 0 bytes, or a `clone` of the base.
   */
  arrive?(device: string, base: string | null): Promise<void>
  /**
   * A new device of this size, with what `base` has, which is sealed, or zeros: a file system in it is written, and then it is sealed. Absent: `create`, or
   * a `clone` of the base. @throws NO_SPACE
   */
  stage?(device: string, base: string | null, sizeBytes: number): Promise<void>
  /** A sealed device is about to be read file by file, most of it: what takes long for that is done now. Absent: nothing does. @throws NO_SPACE */
  prefetch?(device: string): Promise<void>
  /** Where writing to such a device may have failed for want of room, whatever its file system said. @throws NO_SPACE */
  refuseIfFull?(device: string): Promise<void>
  /** What was written to it is on disk, and is what its readers see. */
  sync(device: string): Promise<void>
  /**
   * The same, and who reads it next reads the disk, not what the kernel keeps of it. Absent: to read all of a device again costs more than to
   * send it again, and streams to it do not go on after the death of a process.
   */
  settle?(device: string): Promise<void>
  /** The slow part of a removal; it works on sealed devices too. */
  remove(device: string): Promise<void>

  /** Nobody writes to it from now on. Again: the same. @returns what `isIntact` knows it by */
  seal(device: string): Promise<Seal>
  /** Whether there is such a device, and it cannot be written to as it is. Quick. */
  isSealed(device: string): Promise<boolean>
  /** Resolves when `seal` of a clone need not wait for the storage. Absent: it never has to. @param signal at which nobody waits any more */
  sealable?(device: string, signal: AbortSignal): Promise<void>
  /** Nothing was written to it, and the seal was not broken, since it got this one. */
  isIntact(device: string, seal: Seal): Promise<boolean>
  /** Grows with what is written to it (see the backend's `generation`); 0 when there is none. Beyond the mark of a clone sealed before. */
  generation(device: string): Promise<number>
  /**
   * Bytes that were written to the device, counted each time, since before `clone` was taken of it; 0 only when nothing was at all. Null: not known, the
   * two have to be compared. What was to be written has been (`sync`). Absent: never known.
   */
  writtenSince?(device: string, clone: string): Promise<number | null>
  /** Bytes of storage that each takes, shared or not; what is not known at once is left out, unless `exact`. */
  usedBytes(devices: readonly string[], exact: boolean): Promise<Map<string, number>>

  /** For people. */
  name(device: string): string
  /** Where mkfs, fsck and streams find it, made ready for them. @throws DATASET_MISSING where that takes more than a name */
  path(device: string): Promise<string>
  /** What mount(8) is given, made ready for it. What the mount attaches is detached by the kernel with the last unmount. */
  mountSource(device: string): Promise<{ source: string; options: readonly string[] }>
  /** Something in the kernel has it open, a mount that nobody sees any more too. */
  isHeld(device: string): Promise<boolean>
  /** The block device in the kernel that shows it; null: none, so nobody can use it. @throws VOLUME_BUSY when there are several that write */
  attached(device: string): Promise<AttachedDevice | null>
}

/** `standing`: they wait, as at the end of a move. */
export type Writers = 'running' | 'standing'

export type SettlingProvider = BlockProvider & Required<Pick<BlockProvider, 'settle'>>

export const canSettle = (provider: BlockProvider): provider is SettlingProvider => provider.settle !== undefined

export interface AttachedDevice {
  /** Such as /dev/loop3. */
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
}

export interface Seal {
  /** A whole number that grows from one seal to the next. */
  readonly mark: number
  /** What the mark does not say; null: it says all. */
  readonly proof: string | null
}

/**
 * `extents`: the files' own, `shares`: of one disk, so that the two may have the same ones. `list`: noted in a file (range-list.ts), which
 * who reads it removes.
 */
export type RangeSource =
  | { readonly by: 'extents'; readonly shares: boolean }
  | { readonly by: 'list'; readonly path: string }

/** Snapshots of EC2, read by the EBS direct API. Endpoint null: AWS's own. */
export interface SnapshotContent {
  readonly region: string
  readonly endpoint: string | null
  readonly snapshotId: string
  readonly baseSnapshotId: string | null
}

/** Where a stream is written to: a device, or a snapshot of EC2 that is made of it, by the EBS direct API. */
export type ArrivalPlace = { readonly path: string } | { readonly draft: SnapshotDraft }

/** What no block is written of has what the parent has there, or zeros. Endpoint null: AWS's own. */
export interface SnapshotDraft {
  readonly region: string
  readonly endpoint: string | null
  readonly snapshotId: string
  readonly parent: { readonly snapshotId: string; readonly sizeBytes: number } | null
}

/**
 * `truncate`: the file at its path is cut, or made longer. `lvm`: the thin volume is, of the pool with this spec. `asked`: the process that has the
 * pool is asked for it (stream/ask-size.ts), and says where the stream then goes.
 */
export type Sizing =
  | { readonly by: 'truncate' }
  | { readonly by: 'lvm'; readonly spec: string; readonly device: string }
  | { readonly by: 'asked'; readonly path: string }

/** File systems that a volume may have. */
export const volumeFileSystems = ['ext4', 'xfs'] as const
export type VolumeFileSystem = (typeof volumeFileSystems)[number]

/** What a volume's live dataset is made of. */
export interface LiveNote {
  readonly uuid: string
  readonly device: string
  readonly fileSystem: VolumeFileSystem
  /** Asked for; null: as large as the pool allows. */
  readonly sizeBytes: number | null
  /** The snapshot that it was promoted from. */
  readonly origin: string | null
  readonly volumeId: VolumeId
}

export interface SnapshotNote {
  readonly uuid: string
  readonly streamUuid: string
  /** It came file by file, and is of this snapshot elsewhere. */
  readonly treeUuid?: string
  readonly device: string
  readonly fileSystem: VolumeFileSystem
  /** The live dataset that it was made of; null: received. */
  readonly liveUuid: string | null
  readonly createdAt: string
  /** Grows from one snapshot of the volume to the next. */
  readonly sequence: number
  readonly volumeId: VolumeId
  /** Absent: it is not sealed yet, and no snapshot. */
  readonly seal?: Seal
}

/** A receive under way; `received`: the process that read the stream saw its end and proved it. */
export interface PartialNote {
  readonly device: string
  readonly volumeId: VolumeId
}
