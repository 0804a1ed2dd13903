import type { FileHandle } from 'node:fs/promises'
import { type Range, readWhole } from '../differences.ts'
import { encodeData, encodeZeros, longestExtent } from './format.ts'

/**
 * A device in pieces, and what of each the stream names. Pieces and steps lie at whole multiples of their size, so which extents a stream has
 * follows from the bytes alone: whoever reads the same device and base, wherever they lie, finds the same ones.
 */
export const stepBytes = 4096
const zeros = Buffer.alloc(stepBytes)

/** Neighbouring steps of one kind, in bytes from the start of the piece. */
export interface Run {
  readonly kind: 'zeros' | 'data'
  readonly from: number
  readonly to: number
}

/** What is looked at, cut into pieces of `longestExtent` at most. */
export function* piecesOf(ranges: Iterable<Range>, sizeBytes: number): Generator<Range, void> {
  for (const { start, end } of wholeSteps(ranges, sizeBytes)) {
    for (let at = start; at < end; ) {
      const stop = Math.min((Math.floor(at / longestExtent) + 1) * longestExtent, end)
      yield { start: at, end: stop }
      at = stop
    }
  }
}

/** Blocks of a file system may be smaller than a step. */
function* wholeSteps(ranges: Iterable<Range>, sizeBytes: number): Generator<Range, void> {
  let pending: Range | null = null
  for (const range of ranges) {
    const start = Math.floor(range.start / stepBytes) * stepBytes
    const end = Math.min(Math.ceil(range.end / stepBytes) * stepBytes, sizeBytes)
    if (pending !== null && start <= pending.end) {
      pending = { start: pending.start, end: Math.max(pending.end, end) }
      continue
    }
    if (pending !== null) yield pending
    pending = { start, end }
  }
  if (pending !== null) yield pending
}

/** What a piece holds, and what its base has there; null: there is no base. Good until the next is read. */
export interface Piece {
  readonly bytes: Buffer
  readonly old: Buffer | null
}

export class PieceReader {
  readonly #file: FileHandle
  readonly #base: FileHandle | null
  readonly #bytes = Buffer.allocUnsafeSlow(longestExtent)
  readonly #old = Buffer.allocUnsafeSlow(longestExtent)

  constructor(file: FileHandle, base: FileHandle | null) {
    this.#file = file
    this.#base = base
  }

  async read({ start, end }: Range): Promise<Piece> {
    const [bytes, old] = await Promise.all([
      readWhole(this.#file, this.#bytes, start, end - start),
      this.#base === null ? null : readWhole(this.#base, this.#old, start, end - start),
    ])
    return { bytes, old }
  }
}

/** What differs from the base, or without one what is not zero. */
export const runsOf = ({ bytes, old }: Piece): Run[] => {
  const runs: { kind: Run['kind']; from: number; to: number }[] = []
  for (let from = 0; from < bytes.length; from += stepBytes) {
    const to = Math.min(from + stepBytes, bytes.length)
    const kind = kindOf(bytes, old, from, to)
    if (kind === 'same') continue
    const last = runs.at(-1)
    if (last?.kind === kind && last.to === from) last.to = to
    else runs.push({ kind, from, to })
  }
  return runs
}

const kindOf = (bytes: Buffer, old: Buffer | null, from: number, to: number): Run['kind'] | 'same' => {
  if (old !== null && bytes.compare(old, from, to, from, to) === 0) return 'same'
  if (bytes.compare(zeros, 0, to - from, from, to) !== 0) return 'data'
  return old === null ? 'same' : 'zeros'
}

/** Writes the head of the extent of a run into `into`. @param at where the piece begins */
export const encodeRun = (into: Buffer, at: number, { bytes }: Piece, { kind, from, to }: Run): void => {
  if (kind === 'zeros') encodeZeros(into, at + from, to - from)
  else encodeData(into, at + from, bytes.subarray(from, to))
}
