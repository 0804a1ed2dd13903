import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { mib, newId, recordOf } from '../../contract/backend-bench.ts'
import { realHands } from '../../contract/hands.ts'
import { openedEbs } from '../../ec2/opened-pool.ts'
import { digestOf } from '../../support/tree-digest.ts'
import { carry, change, digest, fileBytes, mounted, sizeBytes, snapshotsOf } from './pair-test.ts'
import { type Kind, pools } from './pools.ts'

/** Takes a snapshot, has a file changed in some places, and takes another; both go to the next pool, the second one upon the first. */
const hop = async (from: Backend, to: Backend, id: VolumeId, names: readonly [string, string]): Promise<void> => {
  const [first, second] = await mounted(from, id, async (data) => {
    const snapshot = await snapshotsOf(from).create(id, names[0], 'move')
    const file = await open(join(data, 'big'), 'r+')
    await change(file).finally(() => file.close())
    return [snapshot, await snapshotsOf(from).create(id, names[1], 'move')] as const
  })
  const whole = await carry(from, to, id, first, null)
  const upon = await carry(from, to, id, second, first)
  expect(upon.bytes).toBeLessThan(whole.bytes / 4)
  await to.streams?.promote(id, names[1], { sizeBytes })
}

/** A hostile tree from pool to pool, in two steps each time; what arrives at the end is what left, with what was written on its way. */
const chain = async ([first, second, third]: readonly [Backend, Backend, Backend]): Promise<void> => {
  const id = newId()
  for (const backend of [first, second, third]) await backend.writeRecord(recordOf(id, backend))
  await first.create(id, { sizeBytes })
  await mounted(first, id, async (data) => {
    await realHands.plantHostileTree(data)
    const file = await open(join(data, 'big'), 'w+')
    for (let at = 0; at < fileBytes; at += mib) await file.write(randomBytes(mib), 0, mib, at)
    await file.close()
  })
  await hop(first, second, id, ['s1', 's2'])
  await hop(second, third, id, ['s3', 's4'])
  expect(await snapshotsOf(second).unchangedSince(id, 's4')).toBe(true)
  await mounted(third, id, async (data) => expect(digestOf(data)).toBe(await digest(second, id, 's4')))
}

export const chainTest = (kinds: readonly [Kind, Kind, Kind]): void => {
  test(`${kinds.join(', ')}: whole, and upon what is there`, async () => {
    await chain([await pools[kinds[0]](), await pools[kinds[1]](), await pools[kinds[2]]()])
  }, 900_000)
}

/** The pools speak of blocks, so both ways go by the EBS direct API. */
export const blockChainTest = (kind: 'loop' | 'lvm-thin'): void => {
  test(`${kind}, ebs, ${kind}, by blocks: whole, and upon what is there; what arrives becomes snapshots without a volume`, async () => {
    const { server, backend } = await openedEbs()
    const [from, to] = [await pools[kind](), await pools[kind]()]
    expect([from, to].map((each) => each.streams?.format)).toEqual([backend.streams.format, backend.streams.format])
    await chain([from, backend, to])
    const [started, completed, put] = ['StartSnapshot', 'CompleteSnapshot', 'PutSnapshotBlock'].map(
      (action) => server.calls().filter((each) => each === action).length,
    )
    console.info(
      `two streams arrived by ${started} StartSnapshot, ${put} PutSnapshotBlock, ${completed} CompleteSnapshot`,
    )
    expect([started, completed]).toEqual([2, 2])
  }, 900_000)
}
