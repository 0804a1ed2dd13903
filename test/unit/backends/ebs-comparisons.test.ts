import { randomBytes, randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { ComparedSnapshots } from '../../../src/backends/block/ebs/compared-snapshots.ts'
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
    const told = await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')
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
  await expect.poll(bench.left).toEqual([base.id])
  // A crash in between: the next start removes it.
  await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')
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
  const changes = () => bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')
  const compare = async () => {
    const told = await changes()
    bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged', times: 100 })
    for await (const _ of told ?? []);
  }
  await expect(compare()).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  bench.server.faults.clear()
  await expect.poll(bench.left).toEqual([base.id])
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
    await start({}, { comparison: { running: 30_000, standing: 30_000 } })
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    goWrong()
    expect(await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')).toBeNull()
    const taken = () => bench.server.calls().filter((action) => action === 'CreateSnapshot').length
    const before = taken()
    expect(await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')).toBeNull()
    expect(taken()).toBe(before)
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

  test('of one that is in use nothing is touched by who tidies', async () => {
    await start()
    await bench.write(0, randomBytes(unitBytes))
    const volumeId = (await bench.host().parts.ledger.read(bench.live))?.volume?.volumeId ?? ''
    const tags = bench.server.world.volumes.get(volumeId)?.tags ?? {}
    const turns = new KeyedMutex<string>()
    const taken = new ComparedSnapshots({
      ...bench.host().parts,
      locked: (device, work) => turns.run(device, work),
      tags: () => tags,
    })
    const gate = Promise.withResolvers<void>()
    void turns.run(bench.live, () => gate.promise)
    const tidied = taken.remove(bench.live)
    const begun = taken.take(bench.live, 60_000)
    gate.resolve()
    const [id] = await Promise.all([begun, tidied])
    await taken.remove(bench.live)
    expect([bench.left(), await taken.take(bench.live, 60_000)]).toEqual([[id], null])
    taken.drop(bench.live)
    await taken.remove(bench.live)
    expect(bench.left()).toEqual([])
  })

  test('whose request a crash cut off: who attaches the volume does not wait until it is known that there is none', async () => {
    const hours = 3_600_000
    await start({}, { settle: hours * 100 })
    const { parts } = bench.host()
    const entry = await parts.ledger.read(bench.live)
    if (entry === null) throw new Error('no entry')
    await parts.ledger.write({ ...entry, snapshot: { snapshotId: null, askedAt: clock.now(), request: randomUUID() } })
    await bench.again()
    await bench.host().devices.open()
    expect(await bench.host().devices.path(bench.live)).toContain('vol')
  })

  test('that is asked for, answered or not: the device is not held meanwhile', async () => {
    await start()
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    bench.server.faults.add({ action: 'CreateSnapshot', kind: { slowMs: 1_500 } })
    const calls = () => bench.server.journal.filter(({ action }) => action === 'CreateSnapshot').length
    const before = calls()
    const compared = bench.host().devices.changes(bench.live, base.device, sizeBytes, 'running')
    await expect.poll(calls).toBeGreaterThan(before)
    await bench.host().devices.path(bench.live)
    // Nothing has been done of it yet.
    expect(bench.left()).toEqual([base.id])
    for await (const _ of (await compared) ?? []);
    await expect.poll(bench.left).toEqual([base.id])
  })

  test('for which EC2 says nothing: it is not waited for beyond the time', async () => {
    await start({}, { comparison: { running: 30_000, standing: 30_000 } })
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    bench.server.faults.add({ action: 'DescribeSnapshots', kind: { slowMs: 600_000 }, times: 1_000 })
    expect(await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'standing')).toBeNull()
  })

  test('whose blocks EC2 throttles: the comparison ends with that in its own time', async () => {
    await start({}, { comparison: { running: 30_000, standing: 30_000 } })
    await bench.write(0, randomBytes(unitBytes))
    const base = await bench.snapshot()
    await bench.write(0, randomBytes(unitBytes))
    const told = await bench.host().devices.changes(bench.live, base.device, sizeBytes, 'standing')
    bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'throttled', times: 10_000 })
    const compare = async () => {
      for await (const _ of told ?? []);
    }
    await expect(compare()).rejects.toMatchObject({ code: 'TIMED_OUT', message: expect.stringContaining('30 s') })
    await expect.poll(bench.left).toEqual([base.id])
  })
})
