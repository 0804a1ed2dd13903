import { type BigIntStats, closeSync, constants, lstatSync, openSync, readSync } from 'node:fs'
import { type Found, walk } from '../../lib/tree-digest/walk.ts'

/** What a snapshot's tree is compared with its base's, before rsync is asked: what rsync cannot see is seen here. */
export interface Changes {
  /** Places in the walk of what is new or was touched; null: everything, there is no base. */
  readonly touched: ReadonlySet<number> | null
  /** A file has other bytes at the same size and time: rsync would pass it over. */
  readonly hidesFromTimes: boolean
  /** A name that shared its file with other names has another file now: written in place, the others would change with it. */
  readonly breaksLinks: boolean
  readonly largestBytes: bigint
}

/** What was written in the last moments before a snapshot may have been written again after it within one tick of the kernel's clock. */
const racyNs = 3_000_000_000n

/**
 * Snapshot and base are on one pool: a file that was not touched has the same inode number and change time in both, and no program
 * sets a change time.
 * @param baseTakenMs when the base was taken, by this host's clock
 */
export const changesIn = (top: string, base: string | null, baseTakenMs: number): Changes => {
  const touched = new Set<number>()
  let hidesFromTimes = false
  let breaksLinks = false
  let largestBytes = 0n
  /** Directories that were none in the base. */
  const noDirectories = new Set<string>()
  const racyFrom = BigInt(baseTakenMs) * 1_000_000n - racyNs
  for (const found of walk(top)) {
    if (found.stats === null) throw new Error(`a name in the snapshot cannot be read (${found.error})`)
    largestBytes = larger(largestBytes, found.stats)
    if (base === null) continue
    const place = found.path.length === 0 ? Buffer.from(base) : Buffer.concat([Buffer.from(`${base}/`), found.path])
    // Never through a link that stood there: that would be another file, or none of the volume's at all.
    const before = isBelow(found.path, noDirectories) ? null : statsOf(place)
    if (found.stats.isDirectory() && before?.isDirectory() !== true) noDirectories.add(found.path.toString('latin1'))
    if (before !== null) largestBytes = larger(largestBytes, before)
    if (before === null) {
      touched.add(found.ordinal)
      continue
    }
    const { stats } = found
    if (before.isFile() && before.nlink > 1n && before.ino !== stats.ino) breaksLinks = true
    const isSame =
      before.ino === stats.ino &&
      before.ctimeNs === stats.ctimeNs &&
      before.mtimeNs === stats.mtimeNs &&
      before.size === stats.size
    if (isSame && stats.ctimeNs < racyFrom) continue
    const looksEqual = bothFiles(before, stats) && before.size === stats.size && before.mtimeNs === stats.mtimeNs
    const isEqual = looksEqual && sameBytes(found, place)
    if (looksEqual && !isEqual) hidesFromTimes = true
    if (!isSame || !isEqual) touched.add(found.ordinal)
  }
  return { touched: base === null ? null : touched, hidesFromTimes, breaksLinks, largestBytes }
}

/** Of either tree: rsync keeps sums of the old one's blocks. */
const larger = (bytes: bigint, stats: BigIntStats): bigint =>
  stats.isFile() && stats.size > bytes ? stats.size : bytes

const isBelow = (path: Buffer, directories: ReadonlySet<string>): boolean => {
  if (directories.size === 0) return false
  const end = path.lastIndexOf(0x2f)
  return directories.has(end === -1 ? '' : path.subarray(0, end).toString('latin1'))
}

const bothFiles = (one: BigIntStats, other: BigIntStats): boolean => one.isFile() && other.isFile()

/** Null: nothing is there, or nothing that could be reached by its path. */
const statsOf = (place: Buffer): BigIntStats | null => {
  try {
    return lstatSync(place, { bigint: true })
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(String(error.code)))
      return null
    throw error
  }
}

const pieceBytes = 2 ** 20
const one = Buffer.allocUnsafeSlow(pieceBytes)
const other = Buffer.allocUnsafeSlow(pieceBytes)

const sameBytes = (found: Found, place: Buffer): boolean => {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK
  const mine = openSync(found.place, flags)
  try {
    const theirs = openSync(place, flags)
    try {
      for (let at = 0; ; ) {
        const read = readWhole(mine, one, at)
        if (readWhole(theirs, other, at) !== read) return false
        if (read === 0) return true
        if (!one.subarray(0, read).equals(other.subarray(0, read))) return false
        at += read
      }
    } finally {
      closeSync(theirs)
    }
  } finally {
    closeSync(mine)
  }
}

const readWhole = (fd: number, into: Buffer, from: number): number => {
  let length = 0
  while (length < into.length) {
    const read = readSync(fd, into, length, into.length - length, from + length)
    if (read === 0) break
    length += read
  }
  return length
}
