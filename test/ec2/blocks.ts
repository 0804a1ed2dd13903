import { createHash } from 'node:crypto'

export const blockBytes = 512 * 1024

/** What a snapshot holds, by blocks of 512 KiB: its checksum, as the direct API has it. What is not there reads as zeros. */
export type BlockChecksums = ReadonlyMap<number, string>

export const checksumOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('base64')

const nothing = Buffer.alloc(blockBytes)

/** Of a file; a block of zeros is none. @param read the bytes of one block; null: beyond the end */
export const checksumsIn = async (read: (index: number) => Promise<Buffer | null>): Promise<BlockChecksums> => {
  const found = new Map<number, string>()
  for (let index = 0; ; index += 1) {
    const bytes = await read(index)
    if (bytes === null) return found
    if (!bytes.equals(nothing)) found.set(index, checksumOf(bytes))
  }
}
