import { type FileHandle, open, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileExtents } from '../../src/lib/file-extents.ts'
import { isErrno } from '../../src/lib/files.ts'
import { sh } from '../support/loop-btrfs.ts'
import { type BlockChecksums, blockBytes, checksumsIn } from './blocks.ts'
import { changedBytes } from './changed-bytes.ts'
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
  /** A snapshot that was planted holds nothing. */
  const opened = async <T>(id: string, otherwise: T, use: (file: FileHandle) => Promise<T>): Promise<T> => {
    const file = await open(path(id), 'r').catch((error: unknown) => {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    })
    return file === null ? otherwise : use(file).finally(() => file.close())
  }
  const checksums = (id: string): Promise<BlockChecksums> =>
    opened(id, new Map<number, string>(), async (file) =>
      checksumsIn(await blocksIn(file), (index) => readAt(file, index)),
    )

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
    changed: (snapshotId, earlierId) => changedBytes(path(snapshotId), earlierId === null ? null : path(earlierId)),
    blocks: (snapshotId) => {
      const found = known.get(snapshotId) ?? checksums(snapshotId)
      known.set(snapshotId, found)
      return found
    },
    readBlock: (snapshotId, index) => opened(snapshotId, Buffer.alloc(blockBytes), (file) => readAt(file, index)),
    start: make,
    writeBlock: async (snapshotId, index, bytes) => {
      const file = await open(path(snapshotId), 'r+')
      await file.write(bytes, 0, bytes.length, index * blockBytes).finally(() => file.close())
    },
  }
}

/** Up to this, to read all of a file is sooner done than to sync it and ask where it has holes. */
const soonReadBytes = 128 * 2 ** 20

/** Zeros beyond the end. */
const readAt = async (file: FileHandle, index: number): Promise<Buffer> => {
  const bytes = Buffer.alloc(blockBytes)
  await file.read(bytes, 0, blockBytes, index * blockBytes)
  return bytes
}

/** Those that are no mere holes: of a file of a GiB that holds little the rest need not be read. */
const blocksIn = async (file: FileHandle): Promise<Set<number>> => {
  const { size } = await file.stat()
  const last = Math.ceil(size / blockBytes)
  const found = new Set<number>()
  const add = (from: number, to: number) => {
    for (let index = from; index < Math.min(to, last); index += 1) found.add(index)
  }
  if (size <= soonReadBytes) {
    add(0, last)
    return found
  }
  await file.sync()
  try {
    for (const { start, end } of fileExtents(file.fd)) add(Math.floor(start / blockBytes), Math.ceil(end / blockBytes))
  } catch (error) {
    if (!isErrno(error, 'EOPNOTSUPP', 'ENOTSUP', 'ENOTTY')) throw error
    add(0, last)
  }
  return found
}
