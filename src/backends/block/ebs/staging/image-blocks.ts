import { type FileHandle, open } from 'node:fs/promises'
import type { RangeSource } from '../../device.ts'
import { type Range, rangesOf, readWhole } from '../../differences.ts'
import type { Sink } from '../../stream/sink.ts'
import { writeWhole } from '../../stream/write.ts'
import { ahead } from '../direct/ahead.ts'
import type { DirectBlocks } from '../direct/blocks.ts'
import { blockBytes, type ListedBlock, type SnapshotPair } from '../direct/lists.ts'

/** 16 MiB in memory. */
const blocksAhead = 32
const nothing = Buffer.alloc(blockBytes)

/** Writes what the snapshot has where it may differ from the pair's base, which the file holds; without one the file is blank. @throws STREAM_FAILED */
export const fetchBlocks = async (
  blocks: DirectBlocks,
  pair: SnapshotPair,
  { path, sizeBytes }: { readonly path: string; readonly sizeBytes: number },
): Promise<void> => {
  const file = await open(path, 'r+')
  try {
    const listed = within(blocks.lists.blocks(pair), sizeBytes)
    const read = ahead(listed, blocksAhead, async (block) => ({
      at: block.index * blockBytes,
      bytes: await blocks.current(pair, block),
    }))
    for await (const { at, bytes } of read) {
      // It stays sparse.
      if (pair.baseSnapshotId === null && bytes.equals(nothing)) continue
      await writeWhole(file, bytes.subarray(0, sizeBytes - at), at)
    }
  } finally {
    await file.close()
  }
}

async function* within(listed: AsyncIterable<ListedBlock>, sizeBytes: number): AsyncGenerator<ListedBlock, void> {
  for await (const block of listed) {
    if (block.index * blockBytes >= sizeBytes) return
    yield block
  }
}

export interface WrittenImage {
  readonly path: string
  /** Null: what the image holds besides zeros is given. */
  readonly basePath: string | null
  /** Where the two may differ. Both were synced before. */
  readonly ranges: RangeSource
  readonly sizeBytes: number
}

/** Gives the sink each block in which the image differs from its base, whole. @throws the signal's reason */
export const giveBlocks = async (
  { path, basePath, ranges, sizeBytes }: WrittenImage,
  sink: Sink,
  signal: AbortSignal,
): Promise<void> => {
  const files: FileHandle[] = []
  try {
    const file = await open(path, 'r')
    files.push(file)
    const base = basePath === null ? null : await open(basePath, 'r')
    if (base !== null) files.push(base)
    const [bytes, old] = [Buffer.alloc(blockBytes), Buffer.alloc(blockBytes)]
    for (const index of blocksIn(rangesOf(ranges, file.fd, base?.fd ?? null, sizeBytes))) {
      signal.throwIfAborted()
      const at = index * blockBytes
      const now = await readWhole(file, bytes, at, Math.min(blockBytes, sizeBytes - at))
      const then = base === null ? nothing.subarray(0, now.length) : await readWhole(base, old, at, now.length)
      if (now.equals(then)) continue
      await sink.data(at, now)
      await sink.reached(at + now.length, now.length)
    }
  } finally {
    for (const file of files) await file.close()
  }
}

/** Each once, in order. */
function* blocksIn(ranges: Iterable<Range>): Generator<number, void> {
  let next = 0
  for (const { start, end } of ranges) {
    const stop = Math.ceil(end / blockBytes)
    for (let index = Math.max(next, Math.floor(start / blockBytes)); index < stop; index += 1) yield index
    next = Math.max(next, stop)
  }
}
