import { expect, test } from 'vitest'
import { bytesBetween, countsIn } from '../../../src/backends/block/ebs/write-counts.ts'

const fields = (reads: number, sectors: number, discards = 0, discarded = 0, writes = 5) =>
  [reads, 0, 8, 0, writes, 0, sectors, 0, 0, 0, 0, discards, 0, discarded, 0, 0, 0].map(String)

const counted = async (sectors: number, ...discards: number[]) => {
  const found = await countsIn('7', fields(1, sectors, ...discards))
  if (found === null) throw new Error('not counted')
  return found
}

test('nothing was written between two counts that are the same; a flush is no write', async () => {
  const then = await counted(80)
  expect(bytesBetween(then, await counted(80))).toBe(0)
  expect(bytesBetween(then, await counted(80, 0, 0, 6))).toBe(0)
  expect(bytesBetween(then, await counted(88))).toBe(4096)
  expect(bytesBetween(then, await counted(80, 1, 8))).toBe(4097)
})

test('of another attachment, another start of the kernel, or counts that went back, nothing is known', async () => {
  const then = await counted(80)
  expect(bytesBetween(then, { ...then, sequence: '8' })).toBeNull()
  expect(bytesBetween(then, { ...then, bootId: 'other' })).toBeNull()
  expect(bytesBetween(then, await counted(79))).toBeNull()
})

test('a disk that counts nothing, or whose counts are not understood, tells nothing', async () => {
  expect(await countsIn('7', fields(0, 0))).toBeNull()
  expect(await countsIn('', fields(1, 0))).toBeNull()
  expect(await countsIn('7', [])).toBeNull()
  expect(await countsIn('7', fields(1, Number.NaN))).toBeNull()
})
