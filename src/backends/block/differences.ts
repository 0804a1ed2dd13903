import { type FileHandle, open } from 'node:fs/promises'
import { fileExtents } from '../../lib/file-extents.ts'
import { isErrno } from '../../lib/files.ts'
import type { RangeSource } from './device.ts'
import { takeRanges } from './range-list.ts'

/** Bytes from `start` on, before `end`. */
export interface Range {
  readonly start: number
  readonly end: number
}

/** Both ends of every range are whole multiples of it; a piece of this size is read at a time. */
export const pieceBytes = 2 ** 20

/**
 * Ranges of `one` that may differ from `other`, by where the two files lie on disk, in order; what is left out is proved equal. Where
 * both have the same extent of the same disk, they show the same bytes: that is what sharing is, whatever became of the files
 * before. Where both have nothing, they show zeros. Everything else may differ, also what is not settled on disk. Holds for files of
 * one file system on one disk, synced before.
 */
function* unsharedRanges(one: number, other: number, sizeBytes: number): Generator<Range, void> {
  const mine = extentsToEnd(one, sizeBytes)
  const theirs = extentsToEnd(other, sizeBytes)
  let [a, b] = [mine.next().value, theirs.next().value]
  let pending = null as Range | null
  for (let at = 0; at < sizeBytes && a !== undefined && b !== undefined; ) {
    const end = Math.min(a.end, b.end)
    if (!isSame(a, b, at)) {
      if (pending !== null && pending.end === at) pending = { start: pending.start, end }
      else {
        if (pending !== null) yield pending
        pending = { start: at, end }
      }
    }
    at = end
    if (a.end <= at) a = mine.next().value
    if (b.end <= at) b = theirs.next().value
  }
  if (pending !== null) yield pending
}

/** A piece of a file: where it lies; `hole`: nowhere, it reads as zeros; `unknown`. */
interface Placed extends Range {
  readonly place: 'disk' | 'hole' | 'unknown'
  readonly physical: number
}

function* extentsToEnd(fd: number, sizeBytes: number): Generator<Placed, undefined> {
  let at = 0
  try {
    for (const { start, end, physical, unwritten } of fileExtents(fd)) {
      if (start >= sizeBytes) break
      if (start > at) yield { start: at, end: start, place: 'hole', physical: 0 }
      const stop = Math.min(end, sizeBytes)
      if (physical === null) yield { start, end: stop, place: 'unknown', physical: 0 }
      else if (unwritten) yield { start, end: stop, place: 'hole', physical: 0 }
      else yield { start, end: stop, place: 'disk', physical }
      at = stop
    }
  } catch (error) {
    // A block device, or a file system that does not tell: all of it has to be read.
    if (!isErrno(error, 'EOPNOTSUPP', 'ENOTSUP', 'ENOTTY')) throw error
    yield { start: at, end: sizeBytes, place: 'unknown', physical: 0 }
    return undefined
  }
  if (at < sizeBytes) yield { start: at, end: sizeBytes, place: 'hole', physical: 0 }
  return undefined
}

const isSame = (a: Placed, b: Placed, at: number): boolean => {
  if (a.place !== b.place || a.place === 'unknown') return false
  return a.place === 'hole' || a.physical + (at - a.start) === b.physical + (at - b.start)
}

/** Ranges of the file that hold anything but holes, in order. */
function* dataRanges(fd: number, sizeBytes: number): Generator<Range, void> {
  let pending = null as Range | null
  for (const { start, end, place } of extentsToEnd(fd, sizeBytes)) {
    if (place === 'hole') continue
    if (pending?.end === start) pending = { start: pending.start, end }
    else {
      if (pending !== null) yield pending
      pending = { start, end }
    }
  }
  if (pending !== null) yield pending
}

/** Where the files have something, either of them: what is left out reads as zeros in both. */
function* eitherRanges(one: number, other: number, sizeBytes: number): Generator<Range, void> {
  const all = [dataRanges(one, sizeBytes), dataRanges(other, sizeBytes)]
  const heads = all.map((each) => each.next().value)
  let pending = null as Range | null
  for (;;) {
    const which = heads.reduce<number>((best, head, index) => {
      if (head === undefined) return best
      const known = best === -1 ? undefined : heads[best]
      return known === undefined || head.start < known.start ? index : best
    }, -1)
    const next = heads[which]
    if (next === undefined) break
    heads[which] = all[which]?.next().value
    if (pending !== null && next.start <= pending.end) {
      pending = { start: pending.start, end: Math.max(pending.end, next.end) }
      continue
    }
    if (pending !== null) yield pending
    pending = next
  }
  if (pending !== null) yield pending
}

/** The ranges to be read of a device, in order; without a base: of what holds anything. */
export const rangesOf = (
  source: RangeSource,
  one: number,
  base: number | null,
  sizeBytes: number,
): Generator<Range, void> => {
  if (source.by === 'list') return takeRanges(source.path, sizeBytes)
  if (base === null) return dataRanges(one, sizeBytes)
  return source.shares ? unsharedRanges(one, base, sizeBytes) : eitherRanges(one, base, sizeBytes)
}

/** Ranges, in steps of 4 KiB, whose bytes do differ. `sizeBytes`: of the larger one. @throws the signal's reason */
export async function* differences(
  one: string,
  other: string,
  sizeBytes: number,
  source: RangeSource,
  signal?: AbortSignal,
): AsyncGenerator<Range, void> {
  const handles: FileHandle[] = []
  try {
    const [a, b] = [await open(one, 'r'), await open(other, 'r')]
    handles.push(a, b)
    const [left, right] = [Buffer.allocUnsafeSlow(pieceBytes), Buffer.allocUnsafeSlow(pieceBytes)]
    for (const range of rangesOf(source, a.fd, b.fd, sizeBytes)) {
      for (let at = range.start; at < range.end; at += pieceBytes) {
        signal?.throwIfAborted()
        const length = Math.min(pieceBytes, range.end - at)
        const [l, r] = await Promise.all([readWhole(a, left, at, length), readWhole(b, right, at, length)])
        if (l.equals(r)) continue
        for (let from = 0; from < length; from += stepBytes) {
          const to = Math.min(from + stepBytes, length)
          if (l.compare(r, from, to, from, to) !== 0) yield { start: at + from, end: at + to }
        }
      }
    }
  } finally {
    for (const handle of handles) await handle.close()
  }
}

const stepBytes = 4096

/** Zeros beyond the end. */
export const readWhole = async (file: FileHandle, into: Buffer, at: number, length: number): Promise<Buffer> => {
  let fill = 0
  while (fill < length) {
    const { bytesRead } = await file.read(into, fill, length - fill, at + fill)
    if (bytesRead === 0) break
    fill += bytesRead
  }
  return into.subarray(0, length).fill(0, fill)
}
