import { type Chunk, type ChunkLimits, chunks, treeDigest } from '../../src/lib/tree-digest/chunks.ts'

/** Of the whole tree at once, or of one name in it. */
export const digestOf = (top: string, limits?: ChunkLimits, part?: string): string =>
  treeDigest(chunksOf(top, limits, part).map(({ digest }) => digest))

export const chunksOf = (top: string, limits?: ChunkLimits, part?: string): Chunk[] => [
  ...chunks(top, undefined, limits, part),
]
