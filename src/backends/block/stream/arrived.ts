import { type FileHandle, open } from 'node:fs/promises'
import type { RangeSource } from '../device.ts'
import { type Range, rangesOf } from '../differences.ts'
import { dataHeadBytes, type Tally, zerosBytes } from './format.ts'
import { encodeRun, PieceReader, piecesOf, runsOf } from './pieces.ts'
import { writeWhole, writeZeros } from './write.ts'

/** What an earlier process has received of the stream. */
export interface Arrived {
  /** All extents before it. */
  readonly at: number
  /** What the device was cloned from; null: it was blank. */
  readonly basePath: string | null
  /** Where the two may differ. Synced before. */
  readonly ranges: RangeSource
}

/**
 * Counts what the device holds before `at`, as the sender counts what its snapshot holds there: the extents that make the base into it, read
 * from the disk, whoever wrote them. If they are not those of the sender the stream's end does not agree, and nothing is proved. Beyond
 * `at`, where the end would not show what was left, the device is made again what its base is.
 */
export const readArrived = async (
  { at, basePath, ranges }: Arrived,
  file: FileHandle,
  sizeBytes: number,
  tally: Tally,
): Promise<void> => {
  const base = basePath === null ? null : await open(basePath, 'r')
  try {
    const reader = new PieceReader(file, base)
    const all = rangesOf(ranges, file.fd, base?.fd ?? null, sizeBytes)
    for (const piece of cutAt(piecesOf(all, sizeBytes), at)) {
      if (piece.start < at) await count(reader, piece, tally)
      else await takeBack(reader, piece, file)
    }
  } finally {
    await base?.close()
  }
}

function* cutAt(pieces: Iterable<Range>, at: number): Generator<Range, void> {
  for (const { start, end } of pieces) {
    if (start < at && end > at) {
      yield { start, end: at }
      yield { start: at, end }
    } else yield { start, end }
  }
}

const head = Buffer.alloc(Math.max(dataHeadBytes, zerosBytes))

const count = async (reader: PieceReader, range: Range, tally: Tally): Promise<void> => {
  const piece = await reader.read(range)
  for (const run of runsOf(piece)) {
    encodeRun(head, range.start, piece, run)
    tally.extent(head.subarray(0, run.kind === 'zeros' ? zerosBytes : dataHeadBytes))
  }
}

const takeBack = async (reader: PieceReader, range: Range, file: FileHandle): Promise<void> => {
  const piece = await reader.read(range)
  for (const { from, to } of runsOf(piece)) {
    if (piece.old === null) await writeZeros(file, range.start + from, to - from)
    else await writeWhole(file, piece.old.subarray(from, to), range.start + from)
  }
}
