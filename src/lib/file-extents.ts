import { ioctl } from './ioctl.ts'

/** Where a piece of a file lies, in bytes. */
export interface FileExtent {
  readonly start: number
  readonly end: number
  /** On the device of the file system; null when that is not known or not settled: then nothing follows from it. */
  readonly physical: number | null
  /** Allocated, never written: reads as zeros. */
  readonly unwritten: boolean
}

const fiemap = 0xc020660b
const headBytes = 32
const extentBytes = 56
const atOnce = 512
const flag = { last: 0x1, unwritten: 0x800 }
/** Unknown, delayed, encoded, encrypted, not aligned, inline, tail. */
const unsettledFlags = 0x2 | 0x4 | 0x8 | 0x80 | 0x100 | 0x200 | 0x400

/**
 * The file's extents in order; what lies between them is a hole. Only what was synced before is sure to be there.
 * @throws errno errors: EOPNOTSUPP where the file system cannot tell
 */
export function* fileExtents(fd: number): Generator<FileExtent, void> {
  const bytes = Buffer.alloc(headBytes + extentBytes * atOnce)
  for (let from = 0n; ; ) {
    bytes.fill(0, 0, headBytes)
    bytes.writeBigUInt64LE(from, 0)
    bytes.writeBigUInt64LE(2n ** 63n - 1n - from, 8)
    bytes.writeUInt32LE(atOnce, 24)
    ioctl(fd, fiemap, bytes)
    const count = bytes.readUInt32LE(20)
    if (count === 0) return
    for (let index = 0; index < count; index += 1) {
      const at = headBytes + extentBytes * index
      const start = bytes.readBigUInt64LE(at)
      const end = start + bytes.readBigUInt64LE(at + 16)
      const flags = bytes.readUInt32LE(at + 40)
      yield {
        start: Number(start),
        end: Number(end),
        physical: (flags & unsettledFlags) === 0 ? Number(bytes.readBigUInt64LE(at + 8)) : null,
        unwritten: (flags & flag.unwritten) !== 0,
      }
      if ((flags & flag.last) !== 0) return
      from = end
    }
  }
}
