import { open } from 'node:fs/promises'
import type { Output } from '../../../lib/descriptor-io.ts'
import type { RangeSource } from '../device.ts'
import { type Range, rangesOf } from '../differences.ts'
import { dataHeadBytes, encodeHead, longestExtent, type StreamHead, Tally, zerosBytes } from './format.ts'
import { encodeRun, PieceReader, piecesOf, runsOf, stepBytes } from './pieces.ts'

export interface SendOrder {
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
  const file = await open(order.path, 'r')
  const base = order.basePath === null ? null : await open(order.basePath, 'r')
  const tally = new Tally()
  try {
    const opening = encodeHead(head)
    tally.head(opening)
    await output.write(opening)
    const records = new Records(new PieceReader(file, base), tally, head.resumedAt ?? 0)
    const ranges = rangesOf(order.ranges, file.fd, base?.fd ?? null, head.sizeBytes)
    for (const piece of piecesOf(ranges, head.sizeBytes)) {
      const bytes = await records.encode(piece)
      if (bytes.length > 0) await output.write(bytes)
    }
    await output.write(tally.end())
    await output.end()
  } finally {
    await file.close()
    await base?.close()
  }
}

/** Pieces of the device as records of the stream. Answers lie in two buffers by turns: one is good until the next but one that is not empty. */
class Records {
  readonly #reader: PieceReader
  readonly #tally: Tally
  /** What comes before is counted, and not sent: the receiver has it. */
  readonly #sentFrom: number
  readonly #head = Buffer.alloc(Math.max(dataHeadBytes, zerosBytes))
  #records = Buffer.allocUnsafeSlow(largestRecords)
  #spare = Buffer.allocUnsafeSlow(largestRecords)

  constructor(reader: PieceReader, tally: Tally, sentFrom: number) {
    this.#reader = reader
    this.#tally = tally
    this.#sentFrom = sentFrom
  }

  async encode(range: Range): Promise<Buffer> {
    const piece = await this.#reader.read(range)
    const records = this.#records
    let fill = 0
    for (const run of runsOf(piece)) {
      const { kind, from, to } = run
      const headBytes = kind === 'zeros' ? zerosBytes : dataHeadBytes
      const isThere = range.start + from < this.#sentFrom
      if (isThere && range.start + to > this.#sentFrom) {
        throw new Error(`no extent ends at ${this.#sentFrom}, where the receiver goes on: it has another stream`)
      }
      const record = isThere ? this.#head : records.subarray(fill)
      encodeRun(record, range.start, piece, run)
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
