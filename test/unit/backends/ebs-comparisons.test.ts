import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { Comparisons } from '../../../src/backends/block/ebs/comparisons.ts'
import type { Limits } from '../../../src/backends/block/ebs/surroundings.ts'
import { KeyedMutex } from '../../../src/lib/mutex.ts'
import { clock, directBench, sizeBytes } from '../../ec2/direct-bench.ts'
import { unitBytes } from '../../ec2/pool.ts'
import type { Ec2Options } from '../../ec2/server.ts'

/* What differs between a snapshot and what is written, by the EBS direct API. */

let bench: Awaited<ReturnType<typeof directBench>>
const start = async (options: Ec2Options = {}, limits: Partial<Limits> = {}) => {
  bench = await directBench(options, limits)
}

test('what is written is compared by a snapshot taken for that, which goes', async () => {
  await start()
  await bench.write(0, randomBytes(3 * unitBytes))
  const base = await bench.snapshot()
  const changes = async () => {
    const found = []
    const told = await bench.host().devices.changes(bench.live, base.device, sizeBytes)
    if (told === null) throw new Error('the direct API is not used')
    for await (const range of told) found.push(range)
    return found
  }
  expect(await changes()).toEqual([])
  await bench.write(8_192, randomBytes(4_096))
  await bench.write(5 * unitBytes, randomBytes(10))
  expect(await changes()).toEqual([
    { start: 8_192, end: 12_288 },
    { start: 5 * unitBytes, end: 5 * unitBytes + 4_096 },
  ])
  expect(bench.left()).toEqual([base.id])
  // A crash in between: the next start removes it.
  await bench.host().devices.changes(bench.live, base.device, sizeBytes)
  expect(bench.left()).toHaveLength(2)
  await bench.again()
  await bench.host().devices.open()
  await expect.poll(bench.left).toEqual([base.id])
  // The note goes after it.
  await expect.poll(async () => (await bench.host().parts.ledger.read(bench.live))?.snapshot).toBeNull()
})

test('a comparison that breaks on its way: it is told, nothing is left, and the next one reads both', async () => {
  await start()
  await bench.write(0, randomBytes(3 * unitBytes))
  const base = await bench.snapshot()
  await bench.write(0, randomBytes(unitBytes))
  const changes = () => bench.host().devices.changes(bench.live, base.device, sizeBytes)
  const compare = async () => {
    const told = await changes()
    bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged', times: 100 })
    for await (const _ of told ?? []);
  }
  await expect(compare()).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  bench.server.faults.clear()
  expect(bench.left()).toEqual([base.id])
  expect(await changes()).toBeNull()
  await clock.sleep(11 * 60_000)
  expect(await changes()).not.toBeNull()
})

describe('a snapshot that is only to be compared with', () => {
  test.each([
    ['EC2 takes long over it', () => Object.assign(bench.server.world.times, { snapshot: 600_000 })],
    [
      'whether it was begun is not answered',
      () => bench.server.faults.add({ action: 'CreateSnapshot', kind: 'lost reply' }),
    ],
  ])('%s: it is not waited for, both are read; nor is it tried again at once', async (_, goWrong) => {
    await start({}, { comparison: 30_000 })
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    goWrong()
    expect(await bench.host().devices.changes(bench.live, base.device, sizeBytes)).toBeNull()
    const before = bench.server.calls().length
    expect(await bench.host().devices.changes(bench.live, base.device, sizeBytes)).toBeNull()
    expect(bench.server.calls()).toHaveLength(before)
    await bench.host().devices.remove(bench.live)
    expect(bench.left()).toEqual([base.id])
  })

  test('is not taken for the one before, which describes still show', async () => {
    let behind = 0
    await start({ times: { lag: 300 }, random: () => behind }, { settle: 120_000 })
    await bench.write(0, randomBytes(unitBytes))
    const entry = await bench.host().parts.ledger.read(bench.live)
    if (entry?.volume?.volumeId == null) throw new Error('no volume')
    const { snapshots } = bench.host().parts
    const tags = bench.server.world.volumes.get(entry.volume.volumeId)?.tags ?? {}
    const first = await snapshots.begin(entry, entry.volume.volumeId, tags)
    await bench.server.settled()
    await snapshots.destroy(first)
    behind = 1
    bench.server.faults.add({ action: 'CreateSnapshot', kind: 'lost request' })
    const second = await snapshots.begin(entry, entry.volume.volumeId, tags)
    expect(second.snapshot?.snapshotId).not.toBe(first.snapshot?.snapshotId)
    await snapshots.destroy(second)
    expect(bench.left()).toEqual([])
  })

  test('of a comparison that runs nothing is touched by who tidies', async () => {
    await start()
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    await bench.write(0, randomBytes(unitBytes))
    const volumeId = (await bench.host().parts.ledger.read(bench.live))?.volume?.volumeId ?? ''
    const tags = bench.server.world.volumes.get(volumeId)?.tags ?? {}
    const turns = new KeyedMutex<string>()
    const comparisons = new Comparisons({
      ...bench.host().parts,
      locked: (device, work) => turns.run(device, work),
      begin: (entry) => bench.host().parts.snapshots.begin(entry, volumeId, tags),
    })
    const gate = Promise.withResolvers<void>()
    void turns.run(bench.live, () => gate.promise)
    const tidied = comparisons.tidy(bench.live)
    const before = bench.gets()
    const compared = comparisons.changes(bench.live, base.device, sizeBytes)
    await expect.poll(() => bench.gets() > before).toBe(true)
    await clock.sleep(2_000)
    gate.resolve()
    const [told] = await Promise.all([compared, tidied])
    await comparisons.tidy(bench.live)
    expect(await comparisons.changes(bench.live, base.device, sizeBytes)).toBeNull()
    const found = []
    for await (const range of told ?? []) found.push(range)
    expect([found, bench.left()]).toEqual([[{ start: 0, end: unitBytes }], [base.id]])
  })
})
