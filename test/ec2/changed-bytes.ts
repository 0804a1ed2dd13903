import { type FileHandle, open } from 'node:fs/promises'
import { fileExtents } from '../../src/lib/file-extents.ts'
import { blockBytes } from './blocks.ts'

/** Bytes of the blocks in which two sparse files differ; without another, of those that are not zero. Holes of both are not read. */
export const changedBytes = async (path: string, otherPath: string | null): Promise<number> => {
  const files = [await open(path, 'r'), ...(otherPath === null ? [] : [await open(otherPath, 'r')])]
  try {
    const indexes = new Set<number>()
    for (const file of files) {
      await file.datasync()
      for (const { start, end } of fileExtents(file.fd)) {
        for (let index = Math.floor(start / blockBytes); index * blockBytes < end; index += 1) indexes.add(index)
      }
    }
    let bytes = 0
    for (const index of indexes) {
      const [one = nothing, other = nothing] = await Promise.all(files.map((file) => blockOf(file, index)))
      if (!one.equals(other)) bytes += blockBytes
    }
    return bytes
  } finally {
    await Promise.all(files.map((file) => file.close()))
  }
}

const nothing = Buffer.alloc(blockBytes)

const blockOf = async (file: FileHandle, index: number): Promise<Buffer> => {
  const bytes = Buffer.alloc(blockBytes)
  await file.read(bytes, 0, blockBytes, index * blockBytes)
  return bytes
}
