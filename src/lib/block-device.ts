import { closeSync, openSync } from 'node:fs'
import { isErrno } from './files.ts'
import { ioctl } from './ioctl.ts'

const flushBuffers = 0x1261
const setReadOnlyFlag = 0x125d
const getDiskSequence = 0x80081280

const withDevice = <T>(path: string, work: (fd: number) => T): T => {
  const fd = openSync(path, 'r')
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

/** `major:minor`, as in mountinfo, of what stat(2) tells; packed as glibc does it. */
export const deviceNumberOf = ({ rdev }: { readonly rdev: number }): string =>
  `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | (Math.floor(rdev / 0x1000) & 0xfff00)}`

/** A mounted file system writes past the cache of its device: what was read of the device before is read anew. */
export const dropCache = (path: string): void => withDevice(path, (fd) => ioctl(fd, flushBuffers, Buffer.alloc(8)))

/**
 * Whether the kernel refuses writes to the device (`blockdev --setro`).
 * @param sequence the disk's number in /sys (`diskseq`), which no other disk ever has: nothing is done to another that has the path by now
 * @returns false: it is another disk
 */
export const refuseWrites = (path: string, on: boolean, sequence: string | null = null): boolean =>
  withDevice(path, (fd) => {
    if (sequence !== null && sequence !== sequenceOf(fd)) return false
    const flag = Buffer.alloc(8)
    flag.writeInt32LE(on ? 1 : 0)
    ioctl(fd, setReadOnlyFlag, flag)
    return true
  })

/** Null: this kernel (before 5.15) counts none. */
const sequenceOf = (fd: number): string | null => {
  const number = Buffer.alloc(8)
  try {
    ioctl(fd, getDiskSequence, number)
  } catch (error) {
    if (isErrno(error, 'ENOTTY', 'EINVAL')) return null
    throw error
  }
  return String(number.readBigUInt64LE())
}
