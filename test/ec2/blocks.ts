import { createHash } from 'node:crypto'

export const blockBytes = 512 * 1024

/** What a snapshot holds, by blocks of 512 KiB: its checksum, as the direct API has it. What is not there reads as zeros. */
export type BlockChecksums = ReadonlyMap<number, string>

export const checksumOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('base64')

const nothing = Buffer.alloc(blockBytes)

/** A block of zeros is none. @param indexes of all that may be more, in order @param read the bytes of one block */
export const checksumsIn = async (
  indexes: Iterable<number>,
  read: (index: number) => Promise<Buffer>,
): Promise<BlockChecksums> => {
  const found = new Map<number, string>()
  for (const index of indexes) {
    const bytes = await read(index)
    if (!bytes.equals(nothing)) found.set(index, checksumOf(bytes))
  }
  return found
}
