import { longestExtent } from '../../stream/format.ts'
import type { Piece } from '../../stream/pieces.ts'
import { ahead } from './ahead.ts'
import type { DirectBlocks } from './blocks.ts'
import { blockBytes, type ListedBlock, type SnapshotPair } from './lists.ts'

/** At most 16 MiB of each of the two are in memory. */
const piecesAhead = 16

/** A piece and where it begins, as stream/pieces.ts cuts a device that is read by its path: so the extents are the same ones. */
export interface PlacedPiece {
  readonly start: number
  readonly piece: Piece
}

/** Pieces of the snapshot that may differ from its base, or without one that may hold anything but zeros; in order. */
export const piecesOfSnapshot = (
  blocks: DirectBlocks,
  pair: SnapshotPair,
  sizeBytes: number,
): AsyncGenerator<PlacedPiece, void> =>
  ahead(neighbours(blocks.lists.blocks(pair), sizeBytes), piecesAhead, async (listed) => {
    const read = await Promise.all(listed.map((block) => blocks.read(pair, block)))
    const old = read.map((each) => each.old).filter((each) => each !== null)
    const start = (listed[0]?.index ?? 0) * blockBytes
    const end = Math.min(start + read.length * blockBytes, sizeBytes)
    const cut = (parts: readonly Buffer[]) => Buffer.concat(parts).subarray(0, end - start)
    return {
      start,
      piece: { bytes: cut(read.map((each) => each.bytes)), old: pair.baseSnapshotId === null ? null : cut(old) },
    }
  })

/** Blocks that lie side by side in one piece. */
async function* neighbours(
  listed: AsyncIterable<ListedBlock>,
  sizeBytes: number,
): AsyncGenerator<readonly ListedBlock[], void> {
  let pending: ListedBlock[] = []
  for await (const block of listed) {
    if (block.index * blockBytes >= sizeBytes) break
    const last = pending.at(-1)
    if (last !== undefined && (last.index + 1 !== block.index || pieceOf(last) !== pieceOf(block))) {
      yield pending
      pending = []
    }
    pending.push(block)
  }
  if (pending.length > 0) yield pending
}

const pieceOf = ({ index }: ListedBlock): number => Math.floor((index * blockBytes) / longestExtent)
