import { open, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isErrno } from '../../src/lib/files.ts'
import { sh } from '../support/loop-btrfs.ts'
import { type BlockChecksums, blockBytes, checksumsIn } from './blocks.ts'
import { type Disks, noDisks } from './disks.ts'

/** Volumes and snapshots as sparse files in a directory; nobody attaches them. */
export const fileDisks = (directory: string): Disks & { path(id: string): string } => {
  const path = (id: string) => join(directory, id)
  // Nothing changes what a snapshot holds: each is looked at once.
  const known = new Map<string, Promise<BlockChecksums>>()

  const copy = async (from: string, to: string) => {
    await sh('cp', '--sparse=always', '--reflink=auto', '--', path(from), path(to))
  }
  const make = async (id: string, sizeBytes: number, snapshotId: string | null) => {
    if (snapshotId === null) await writeFile(path(id), '', { flag: 'wx' })
    else await copy(snapshotId, id)
    await truncate(path(id), sizeBytes)
  }
  const read = async (id: string, index: number): Promise<Buffer | null> => {
    const file = await open(path(id), 'r')
    try {
      const bytes = Buffer.alloc(blockBytes)
      const { bytesRead } = await file.read(bytes, 0, blockBytes, index * blockBytes)
      return bytesRead === 0 ? null : bytes
    } finally {
      await file.close()
    }
  }
  const checksums = async (id: string): Promise<BlockChecksums> => {
    try {
      return await checksumsIn((index) => read(id, index))
    } catch (error) {
      // A snapshot that was planted holds nothing.
      if (isErrno(error, 'ENOENT')) return new Map()
      throw error
    }
  }

  return {
    ...noDisks,
    path,
    make,
    capture: copy,
    resize: (volumeId, sizeBytes) => truncate(path(volumeId), sizeBytes),
    drop: async (id) => {
      known.delete(id)
      await rm(path(id), { force: true })
    },
    blocks: (snapshotId) => {
      const found = known.get(snapshotId) ?? checksums(snapshotId)
      known.set(snapshotId, found)
      return found
    },
    readBlock: async (snapshotId, index) => (await read(snapshotId, index)) ?? Buffer.alloc(blockBytes),
    start: make,
    writeBlock: async (snapshotId, index, bytes) => {
      const file = await open(path(snapshotId), 'r+')
      await file.write(bytes, 0, bytes.length, index * blockBytes).finally(() => file.close())
    },
  }
}
