import { open } from 'node:fs/promises'
import type { Output } from '../../../lib/descriptor-io.ts'
import type { RangeSource, SnapshotContent } from '../device.ts'
import { rangesOf } from '../differences.ts'
import { dataHeadBytes, encodeHead, longestExtent, type StreamHead, Tally, zerosBytes } from './format.ts'
import { encodeRun, type Piece, PieceReader, piecesOf, runsOf, stepBytes } from './pieces.ts'

export type SendOrder = PathsOrder | ContentOrder

interface ContentOrder {
  readonly head: StreamHead
  readonly content: SnapshotContent
}

interface PathsOrder {
  readonly head: StreamHead
  readonly path: string
  readonly basePath: string | null
  /** What is looked at, at all. */
  readonly ranges: RangeSource
}

/** Every other step another extent. */
const largestRecords = longestExtent + (longestExtent / stepBytes) * Math.max(dataHeadBytes, zerosBytes)

/** Writes the stream, as fast as `output` takes it; memory is a few extents, whatever the device's size. */
export const sendBlocks = async (order: SendOrder, output: Output): Promise<void> => {
  const { head } = order
  const tally = new Tally()
  const opening = encodeHead(head)
  tally.head(opening)
  await output.write(opening)
  const records = new Records(tally, head.resumedAt ?? 0)
  const pieces = 'content' in order ? await openContent(order) : readPaths(order)
  for await (const { start, piece } of pieces) {
    const bytes = records.encode(start, piece)
    if (bytes.length > 0) await output.write(bytes)
  }
  await output.write(tally.end())
  await output.end()
}

/** The SDK is loaded for it: only where it is needed. */
const openContent = async ({ content, head }: ContentOrder) => {
  const { openSnapshot } = await import('../ebs/direct/open.ts')
  return openSnapshot(content, head.sizeBytes)
}

async function* readPaths(order: PathsOrder): AsyncGenerator<{ start: number; piece: Piece }, void> {
  const { sizeBytes } = order.head
  const file = await open(order.path, 'r')
  const base = order.basePath === null ? null : await open(order.basePath, 'r')
  try {
    const reader = new PieceReader(file, base)
    const ranges = rangesOf(order.ranges, file.fd, base?.fd ?? null, sizeBytes)
    for (const range of piecesOf(ranges, sizeBytes)) yield { start: range.start, piece: await reader.read(range) }
  } finally {
    await file.close()
    await base?.close()
  }
}

/** Pieces of the device as records of the stream. Answers lie in two buffers by turns: one is good until the next but one that is not empty. */
class Records {
  readonly #tally: Tally
  /** What comes before is counted, and not sent: the receiver has it. */
  readonly #sentFrom: number
  readonly #head = Buffer.alloc(Math.max(dataHeadBytes, zerosBytes))
  #records = Buffer.allocUnsafeSlow(largestRecords)
  #spare = Buffer.allocUnsafeSlow(largestRecords)

  constructor(tally: Tally, sentFrom: number) {
    this.#tally = tally
    this.#sentFrom = sentFrom
  }

  encode(start: number, piece: Piece): Buffer {
    const records = this.#records
    let fill = 0
    for (const run of runsOf(piece)) {
      const { kind, from, to } = run
      const headBytes = kind === 'zeros' ? zerosBytes : dataHeadBytes
      const isThere = start + from < this.#sentFrom
      if (isThere && start + to > this.#sentFrom) {
        throw new Error(`no extent ends at ${this.#sentFrom}, where the receiver goes on: it has another stream`)
      }
      const record = isThere ? this.#head : records.subarray(fill)
      encodeRun(record, start, piece, run)
      this.#tally.extent(record.subarray(0, headBytes))
      if (isThere) continue
      if (kind === 'data') piece.bytes.copy(record, headBytes, from, to)
      fill += headBytes + (kind === 'data' ? to - from : 0)
    }
    // What is empty is not written, and must not free the buffer of what is being written.
    if (fill > 0) [this.#records, this.#spare] = [this.#spare, this.#records]
    return records.subarray(0, fill)
  }
}
