import { readIfExists } from '../../../lib/files.ts'

/**
 * What the kernel has counted of a disk since it was attached: the sectors of each write when that has ended, whoever made it. Between two counts of one
 * attachment that are the same nothing was written. Requests are not counted here, as a flush without data is one.
 */
export interface WriteCounts {
  /** Of this start of the kernel, and of this attachment within it. */
  readonly bootId: string
  readonly sequence: string
  readonly sectors: number
  readonly discards: number
  readonly discardedSectors: number
}

const sectorBytes = 512

/**
 * @param sequence diskseq @param fields of `stat` in /sys. @returns null where it does not count: a disk that has not even counted what was read from it
 * when it was looked at first may count nothing
 */
export const countsIn = async (sequence: string, fields: readonly string[]): Promise<WriteCounts | null> => {
  const [reads = -1, sectors = -1, discards = -1, discardedSectors = -1] = [0, 6, 11, 13].map((index) =>
    Number(fields[index]),
  )
  const bootId = (await readIfExists('/proc/sys/kernel/random/boot_id'))?.trim() ?? ''
  const isCounted = [reads - 1, sectors, discards, discardedSectors].every(
    (each) => Number.isSafeInteger(each) && each >= 0,
  )
  return sequence === '' || bootId === '' || !isCounted
    ? null
    : { bootId, sequence, sectors, discards, discardedSectors }
}

/** Null: nothing is known, as they are not of one attachment. 0 only when all are the same. */
export const bytesBetween = (then: WriteCounts, now: WriteCounts): number | null => {
  if (then.bootId !== now.bootId || then.sequence !== now.sequence) return null
  const [sectors, discards, discarded] = [
    now.sectors - then.sectors,
    now.discards - then.discards,
    now.discardedSectors - then.discardedSectors,
  ]
  if (sectors < 0 || discards < 0 || discarded < 0) return null
  return (sectors + discarded) * sectorBytes + discards
}
