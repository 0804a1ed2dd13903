import { type FileHandle, open } from 'node:fs/promises'
import type { Output } from '../../../lib/descriptor-io.ts'
import type { RangeSource } from '../device.ts'
import { rangesOf, readWhole } from '../differences.ts'
import {
  dataHeadBytes,
  encodeData,
  encodeHead,
  encodeZeros,
  longestExtent,
  type StreamHead,
  Tally,
  zerosBytes,
} from './format.ts'

export interface SendOrder {
  readonly head: StreamHead
  readonly path: string
  readonly basePath: string | null
  /** What is looked at, at all. */
  readonly ranges: RangeSource
}

const stepBytes = 4096
const zeros = Buffer.alloc(stepBytes)
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
    const size = head.sizeBytes
    const pieces = new Pieces(file, base, tally)
    for (const { start, end } of rangesOf(order.ranges, file.fd, base?.fd ?? null, size)) {
      for (let at = start; at < end; at += longestExtent) {
        const records = await pieces.encode(at, Math.min(longestExtent, end - at))
        if (records.length > 0) await output.write(records)
      }
    }
    await output.write(tally.end())
    await output.end()
  } finally {
    await file.close()
    await base?.close()
  }
}

/** Pieces of the device as records of the stream. Answers lie in two buffers by turns: one is good until the next but one that is not empty. */
class Pieces {
  readonly #file: FileHandle
  readonly #base: FileHandle | null
  readonly #tally: Tally
  readonly #bytes = Buffer.allocUnsafeSlow(longestExtent)
  readonly #old = Buffer.allocUnsafeSlow(longestExtent)
  #records = Buffer.allocUnsafeSlow(largestRecords)
  #spare = Buffer.allocUnsafeSlow(largestRecords)

  constructor(file: FileHandle, base: FileHandle | null, tally: Tally) {
    this.#file = file
    this.#base = base
    this.#tally = tally
  }

  /** What differs from the base, or without one what is not zero. */
  async encode(at: number, length: number): Promise<Buffer> {
    const [bytes, old] = await Promise.all([
      readWhole(this.#file, this.#bytes, at, length),
      this.#base === null ? null : readWhole(this.#base, this.#old, at, length),
    ])
    const records = this.#records
    let fill = 0
    for (const { kind, from, to } of runsOf(bytes, old)) {
      if (kind === 'same') continue
      const record = records.subarray(fill)
      if (kind === 'zeros') encodeZeros(record, at + from, to - from)
      else {
        encodeData(record, at + from, bytes.subarray(from, to))
        bytes.copy(record, dataHeadBytes, from, to)
      }
      const headBytes = kind === 'zeros' ? zerosBytes : dataHeadBytes
      this.#tally.extent(record.subarray(0, headBytes))
      fill += headBytes + (kind === 'zeros' ? 0 : to - from)
    }
    // What is empty is not written, and must not free the buffer of what is being written.
    if (fill > 0) [this.#records, this.#spare] = [this.#spare, this.#records]
    return records.subarray(0, fill)
  }
}

type Kind = 'same' | 'zeros' | 'data'

/** Neighbouring steps of one kind, as one. */
const runsOf = (bytes: Buffer, old: Buffer | null): { kind: Kind; from: number; to: number }[] => {
  const runs: { kind: Kind; from: number; to: number }[] = []
  for (let from = 0; from < bytes.length; from += stepBytes) {
    const to = Math.min(from + stepBytes, bytes.length)
    const kind = kindOf(bytes, old, from, to)
    const last = runs.at(-1)
    if (last?.kind === kind) last.to = to
    else runs.push({ kind, from, to })
  }
  return runs
}

const kindOf = (bytes: Buffer, old: Buffer | null, from: number, to: number): Kind => {
  if (old !== null && bytes.compare(old, from, to, from, to) === 0) return 'same'
  if (bytes.compare(zeros, 0, to - from, from, to) !== 0) return 'data'
  return old === null ? 'same' : 'zeros'
}
