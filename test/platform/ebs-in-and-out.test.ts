import { expect, test } from 'vitest'
import { openedEbs } from '../ec2/opened-pool.ts'
import { chain, chainTest } from '../vm/pairs/chain-test.ts'
import { pools } from '../vm/pairs/pools.ts'

/* Into the cloud and out of it, contents proved at every step. Where the pools speak of blocks both ways go by the EBS direct API. */

chainTest(['btrfs', 'ebs', 'btrfs'])

test('loop, ebs, loop: whole, and upon what is there; what arrives becomes snapshots without a volume', async () => {
  const { server, backend } = await openedEbs()
  await chain([await pools.loop(), backend, await pools.loop()])
  const [started, completed, put] = ['StartSnapshot', 'CompleteSnapshot', 'PutSnapshotBlock'].map(
    (action) => server.calls().filter((each) => each === action).length,
  )
  console.info(
    `two streams arrived by ${started} StartSnapshot, ${put} PutSnapshotBlock, ${completed} CompleteSnapshot`,
  )
  expect([started, completed]).toEqual([2, 2])
}, 900_000)
