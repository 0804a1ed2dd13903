import { closeSync, constants, openSync, readlinkSync } from 'node:fs'
import { fileExtents } from '../../lib/file-extents.ts'
import { type Found, walk } from '../../lib/tree-digest/walk.ts'
import { xattrsOf } from '../../lib/tree-digest/xattrs.ts'
import type { Range } from './differences.ts'

/** Beyond so many names another round is sooner done than a look at them all. */
const mostNames = 20_000

/**
 * Whether two mounted copies of one file system hold the same, given the ranges in which their devices differ. A journal, a superblock,
 * the bitmaps differ by the mere end of a mount or of a file that had no name any more; so what counts is what the kernel shows:
 * every name, and for each inode number, mode, owner, links, size, times to the nanosecond, device number, target and attributes; and of
 * each file that its blocks are the same ones, none of them in what differs. Nothing is left out: whatever is not proved equal is
 * "changed".
 */
export const isSameTree = (one: string, other: string, differing: readonly Range[]): boolean => {
  const [mine, theirs] = [walk(one), walk(other)]
  try {
    for (let names = 0; ; names += 1) {
      const [a, b] = [mine.next(), theirs.next()]
      if (a.done === true || b.done === true) return a.done === true && b.done === true
      if (names >= mostNames || !isSameInode(a.value, b.value, differing)) return false
    }
  } finally {
    mine.return()
    theirs.return()
  }
}

const isSameInode = (a: Found, b: Found, differing: readonly Range[]): boolean => {
  if (!a.path.equals(b.path) || a.error !== null || b.error !== null) return false
  const [s, t] = [a.stats, b.stats]
  if (s === null || t === null) return false
  const fields = ['ino', 'mode', 'nlink', 'uid', 'gid', 'rdev', 'size', 'mtimeNs', 'ctimeNs', 'birthtimeNs'] as const
  if (fields.some((field) => s[field] !== t[field])) return false
  const [attributes, others] = [xattrsOf(a.place), xattrsOf(b.place)]
  if (attributes.length !== others.length) return false
  const alike = attributes.every(({ name, value }, index) => {
    const known = others[index]
    return known !== undefined && name.equals(known.name) && value.equals(known.value)
  })
  if (!alike) return false
  if (s.isSymbolicLink()) {
    const target = (place: Buffer) => readlinkSync(place, { encoding: 'buffer' })
    return target(a.place).equals(target(b.place))
  }
  return !s.isFile() || s.size === 0n || isOnSameBlocks(a.place, b.place, differing)
}

const isOnSameBlocks = (one: Buffer, other: Buffer, differing: readonly Range[]): boolean => {
  const flags = constants.O_RDONLY | constants.O_NOATIME | constants.O_NOFOLLOW
  const [fd, otherFd] = [openSync(one, flags), openSync(other, flags)]
  try {
    const theirs = fileExtents(otherFd)
    for (const mine of fileExtents(fd)) {
      const match = theirs.next().value
      if (match === undefined || mine.start !== match.start || mine.end !== match.end) return false
      if (mine.physical === null || mine.physical !== match.physical || mine.unwritten !== match.unwritten) return false
      if (!mine.unwritten && meets(differing, mine.physical, mine.physical + mine.end - mine.start)) return false
    }
    return theirs.next().done === true
  } finally {
    closeSync(fd)
    closeSync(otherFd)
  }
}

/** `ranges` are in order and apart. */
const meets = (ranges: readonly Range[], start: number, end: number): boolean => {
  let [low, high] = [0, ranges.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ranges[middle]?.end ?? 0) <= start) low = middle + 1
    else high = middle
  }
  const found = ranges[low]
  return found !== undefined && found.start < end
}
