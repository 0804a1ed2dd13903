import { type BlockChecksums, blockBytes } from './blocks.ts'

/** What stands behind the volumes: loop devices (loop-disks.ts), or nothing, for tests of the calls alone. */
export interface Disks {
  /** A blank one, or with what the snapshot has. */
  make(volumeId: string, sizeBytes: number, snapshotId: string | null): Promise<void>
  /** What the disk holds at this moment. */
  capture(volumeId: string, snapshotId: string): Promise<void>
  resize(volumeId: string, sizeBytes: number): Promise<void>
  /** The instance sees it when this has ended. */
  attach(volumeId: string, instanceId: string): Promise<void>
  /** False: the instance still uses it. */
  detach(volumeId: string, instanceId: string): Promise<boolean>
  drop(id: string): Promise<void>
  /** By so many bytes a snapshot differs from an earlier one, or from nothing. */
  changed(snapshotId: string, earlierId: string | null): Promise<number>
  /** Of a snapshot. */
  blocks(snapshotId: string): Promise<BlockChecksums>
  readBlock(snapshotId: string, index: number): Promise<Buffer>
  /** A snapshot that is to be written, blank or with what its parent has. */
  start(snapshotId: string, sizeBytes: number, parentId: string | null): Promise<void>
  writeBlock(snapshotId: string, index: number, bytes: Buffer): Promise<void>
}

const nothing = async () => {}

export const noDisks: Disks = {
  make: nothing,
  capture: nothing,
  resize: nothing,
  attach: nothing,
  detach: async () => true,
  drop: nothing,
  changed: async () => 0,
  blocks: async () => new Map(),
  readBlock: async () => Buffer.alloc(blockBytes),
  start: nothing,
  writeBlock: nothing,
}
