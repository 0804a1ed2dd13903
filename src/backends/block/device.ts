import type { VolumeId } from '../../domain/ids.ts'

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

  /** Whole bytes per device: sizes are rounded up to it. */
  readonly grainBytes: number
  /** A new device that reads as zeros. One of that name is an error: nothing is formatted that was there before. @throws NO_SPACE */
  create(device: string, sizeBytes: number): Promise<void>
  /** Null: there is none. */
  sizeBytes(device: string): Promise<number | null>
  /** Never smaller. What has it mounted sees the new size at once. @throws DATASET_MISSING, NO_SPACE */
  grow(device: string, sizeBytes: number): Promise<void>
  /** For a device that nobody has attached: cuts the end off. */
  shrink(device: string, sizeBytes: number): Promise<void>
  /** Another device with the same bytes; `from` is written by nobody meanwhile. Durable when it returns. @throws DATASET_MISSING, NO_SPACE */
  clone(from: string, to: string): Promise<void>
  /** Whether a clone takes no time and no room to speak of. */
  readonly sharesExtents: boolean
  /** What was written to it is on disk. */
  sync(device: string): Promise<void>
  /** The slow part of a removal; it works on sealed devices too. */
  remove(device: string): Promise<void>

  /**
   * Nobody writes to it from now on.
   * @returns its mark: a whole number that any later write, or breaking of the seal, changes for good
   */
  seal(device: string): Promise<number>
  /** The mark as it is now; null when there is no such device, or it is not sealed. */
  mark(device: string): Promise<number | null>
  /** Grows with what is written to it (see the backend's `generation`); 0 when there is none. */
  generation(device: string): Promise<number>
  /** Bytes of storage that it takes, shared or not. */
  usedBytes(device: string): Promise<number>

  /** Where mkfs, fsck and streams find it. */
  path(device: string): string
  /** What mount(8) is given. What it attaches is detached by the kernel with the last unmount. */
  mountSource(device: string): { source: string; options: readonly string[] }
  /** The block device in the kernel that shows it; null: nobody has it attached. @throws VOLUME_BUSY when there are several that write */
  attached(device: string): Promise<AttachedDevice | null>
}

export interface AttachedDevice {
  /** Such as /dev/loop3. */
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
}

/** File systems that a volume may have. */
export type VolumeFileSystem = 'ext4' | 'xfs'

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
}

/** A receive under way; `received`: the process that read the stream saw its end and proved it. */
export interface PartialNote {
  readonly device: string
  readonly volumeId: VolumeId
}
