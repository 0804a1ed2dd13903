import { type Chunk, type ChunkLimits, chunks, treeDigest } from '../../src/lib/tree-digest/chunks.ts'

/** Of the whole tree at once. */
export const digestOf = (top: string, limits?: ChunkLimits): string =>
  treeDigest(chunksOf(top, limits).map(({ digest }) => digest))

export const chunksOf = (top: string, limits?: ChunkLimits): Chunk[] => [...chunks(top, undefined, limits)]
