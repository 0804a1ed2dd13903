import { randomBytes } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CallBudget } from '../../../src/backends/block/ebs/budget.ts'
import { Calls } from '../../../src/backends/block/ebs/calls.ts'
import { DirectAccess } from '../../../src/backends/block/ebs/direct/access.ts'
import { ahead } from '../../../src/backends/block/ebs/direct/ahead.ts'
import { DirectBlocks } from '../../../src/backends/block/ebs/direct/blocks.ts'
import { answerMs } from '../../../src/backends/block/ebs/direct/client.ts'
import { onInstance } from '../../../src/backends/block/ebs/surroundings.ts'
import { receiveBlocks } from '../../../src/backends/block/stream/receive.ts'
import { type SendOrder, sendBlocks } from '../../../src/backends/block/stream/send.ts'
import { Input, Output } from '../../../src/lib/descriptor-io.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { blockBytes } from '../../ec2/blocks.ts'
import { clock, directBench, sizeBytes } from '../../ec2/direct-bench.ts'
import { newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import type { Ec2Options } from '../../ec2/server.ts'

/* Snapshots by the EBS direct API, from a volume of 128 blocks whose bytes are a file. */

let bench: Awaited<ReturnType<typeof directBench>>
const start = async (options: Ec2Options = {}) => {
  bench = await directBench(options)
}

const streamed = async (order: SendOrder): Promise<Buffer> => {
  const path = join(bench.directory, 'stream')
  const fd = openSync(path, 'w')
  await sendBlocks(order, new Output(fd)).finally(() => closeSync(fd))
  return readFile(path)
}
const head = (baseUuid: string | null) => ({ streamUuid: 'new', baseUuid, sizeBytes, fileSystem: 'ext4' as const })
const mustContent = async (device: string, base: string | null) => {
  const content = await bench.host().devices.content(device, base)
  if (content === null) throw new Error('the direct API is not used')
  return content
}
const damaged = (times: number) => bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged', times })

/** A volume an eighth of which is written, and 1 % of it, in one place, changed between two snapshots. */
const changedPercent = 655_360
const pair = async () => {
  await bench.write(0, randomBytes(sizeBytes / 8))
  const base = await bench.snapshot()
  await bench.write(10 * blockBytes, randomBytes(changedPercent))
  await bench.write(4 * blockBytes, Buffer.alloc(blockBytes / 2))
  return { base, now: await bench.snapshot() }
}

test('a whole snapshot: what was never written is not read, and the bytes are the same', async () => {
  await start()
  await bench.write(0, randomBytes(3 * blockBytes))
  await bench.write(sizeBytes - 5_000, randomBytes(5_000))
  const { device, id } = await bench.snapshot()
  const content = await mustContent(device, null)
  const before = bench.gets()
  const stream = await streamed({ head: head(null), content })
  expect([bench.gets() - before, bench.server.world.volumes.all().length]).toEqual([4, 1])
  const path = join(bench.directory, 'received')
  await (await open(path, 'w')).close()
  const fd = openSync(join(bench.directory, 'stream'), 'r')
  await receiveBlocks(
    { path, baseUuid: null, proofPath: join(bench.directory, 'proof'), sizing: { by: 'truncate' } },
    new Input(fd),
  ).finally(() => closeSync(fd))
  expect((await readFile(path)).equals(await readFile(bench.disks.path(id)))).toBe(true)
  expect(stream.length).toBeLessThan(3 * blockBytes + 3 * 4096)
})

test('1 % changed: that is read and sent, as the same stream that is read from the disks', async () => {
  await start()
  const { base, now } = await pair()
  const content = await mustContent(now.device, base.device)
  const before = bench.gets()
  const stream = await streamed({ head: head('old'), content })
  const changed = changedPercent + blockBytes / 2
  const read = (bench.gets() - before) * blockBytes
  console.info(`of ${sizeBytes} bytes ${changed} changed: ${stream.length} sent, ${read} read of both snapshots`)
  // Two blocks and two that are touched in part, of each of both snapshots.
  expect(bench.gets() - before).toBe(2 * 3)
  expect(stream.length).toBeLessThan(changedPercent * 1.2)
  const ranges = { by: 'extents', shares: false } as const
  const paths = { path: bench.disks.path(now.id), basePath: bench.disks.path(base.id), ranges }
  expect((await streamed({ head: head('old'), ...paths })).equals(stream)).toBe(true)
})

test('what is damaged on its way is asked again, and in the end named', async () => {
  await start()
  const { base, now } = await pair()
  const content = await mustContent(now.device, base.device)
  damaged(2)
  await streamed({ head: head('old'), content })
  damaged(100)
  await expect(streamed({ head: head('old'), content })).rejects.toMatchObject({
    code: 'STREAM_FAILED',
    message: expect.stringMatching(new RegExp(`block (4|10|11) of snapshot (${now.id}|${base.id}) came damaged`)),
  })
})

test('throttled, cut and failing calls are made again', async () => {
  await start({ directThrottle: { burst: 3, perSecond: 50 } })
  const { base, now } = await pair()
  for (const kind of ['lost reply', 'lost request', 'failing', 'throttled'] as const) {
    for (const action of ['ListChangedBlocks', 'GetSnapshotBlock']) bench.server.faults.add({ action, kind })
  }
  const found = []
  const blocks = await bench.blocksOf()
  for await (const block of blocks.lists.blocks({ snapshotId: now.id, baseSnapshotId: base.id })) {
    found.push(block.index)
    await blocks.read({ snapshotId: now.id, baseSnapshotId: base.id }, block)
  }
  expect(found).toEqual([4, 10, 11])
})

test('tokens that have expired are asked for anew, each block is read once', async () => {
  await start({ times: { blockToken: 1, pageToken: 1 }, quotas: { blocksAPage: 2 } })
  await bench.write(0, randomBytes(9 * blockBytes))
  const { id } = await bench.snapshot()
  const blocks = await bench.blocksOf()
  const of = { snapshotId: id, baseSnapshotId: null }
  const listed = []
  for await (const block of blocks.lists.blocks(of)) listed.push(block)
  expect(listed.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  Object.assign(bench.server.world.times, { blockToken: 60_000, pageToken: 60_000 })
  const [, , third] = listed
  if (third === undefined) throw new Error('no third block')
  const { bytes } = await blocks.read(of, third)
  const start3 = 2 * blockBytes
  expect(bytes.equals((await readFile(bench.disks.path(id))).subarray(start3, start3 + blockBytes))).toBe(true)
  await expect(blocks.read(of, { ...third, index: 100 })).rejects.toMatchObject({ code: 'ValidationException' })
})

test('denied, or without an answer: not used, said once, tried again after a while', async () => {
  await start()
  const { base, now } = await pair()
  const said: string[] = []
  const logger = {
    ...silentLogger,
    child: () => logger,
    debug: () => {},
    warn: (_: object, text: string) => said.push(text),
  }
  const patient = fastClock(3_000)
  const access = new DirectAccess(await bench.blocksOf(), patient, logger)
  const of = { snapshotId: now.id, baseSnapshotId: base.id }
  bench.server.faults.add({ action: 'ListChangedBlocks', kind: 'denied' })
  expect([await access.reaches(of), await access.reaches(of)]).toEqual([false, false])
  await patient.sleep(11 * 60_000)
  bench.server.faults.add({ action: 'ListChangedBlocks', kind: 'lost request', times: 1_000 })
  expect(await access.reaches(of)).toBe(false)
  expect(said).toEqual(['the EBS direct API cannot be used; whole volumes are read instead'])
  bench.server.faults.clear()
  await patient.sleep(11 * 60_000)
  // May list and may not read, or not any more: that shows before anything depends on it.
  for (const _ of [1, 2]) {
    bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'denied' })
    expect(await access.reaches(of)).toBe(false)
    await patient.sleep(11 * 60_000)
    expect(await access.reaches(of)).toBe(true)
  }
  // Of another lineage: not by it, and others go on.
  const other = newDevice()
  await bench.host().devices.create(other, unitBytes)
  const { proof } = await bench.host().devices.seal(other)
  expect(await access.reaches({ snapshotId: proof ?? '', baseSnapshotId: base.id })).toBe(false)
  expect(await access.reaches(of)).toBe(true)
})

test('a block of the snapshot without a token is not taken for zeros', async () => {
  await start()
  const blocks = new DirectBlocks(
    async () => {
      throw new Error('nothing is asked')
    },
    new Calls(clock, new CallBudget(clock), silentLogger),
  )
  const pair = { snapshotId: 'snap-2', baseSnapshotId: null }
  await expect(blocks.read(pair, { index: 7, token: null, baseToken: null })).rejects.toMatchObject({
    code: 'STREAM_FAILED',
    message: 'no token came for block 7 of snap-2: what it holds is not known',
  })
})

describe('what breaks is told', () => {
  test('soon, where nobody answers', async () => {
    await start()
    await bench.write(0, randomBytes(blockBytes))
    const { id } = await bench.snapshot()
    const blocks = await bench.blocksOf(20_000)
    const of = { snapshotId: id, baseSnapshotId: null }
    const listed = blocks.lists.blocks(of)
    const { value: block } = await listed.next()
    if (block === undefined) throw new Error('no block')
    bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'lost request', times: 10_000 })
    const before = bench.gets()
    await expect(blocks.read(of, block)).rejects.toThrow('GetSnapshotBlock was not answered')
    bench.server.faults.clear()
    // The pauses between them double: more would take ten minutes.
    expect(bench.gets() - before).toBeLessThan(10)
  })

  test('at once, whatever is under way before it', async () => {
    const items = async function* () {
      yield* ['never answered', 'breaks', 'never asked for']
    }
    const never = new Promise<string>(() => {})
    const asked: string[] = []
    const answers = ahead(items(), 2, (item) => {
      asked.push(item)
      return item === 'breaks' ? Promise.reject(new Error(item)) : never
    })
    await expect(answers.next()).rejects.toThrow('breaks')
    expect(asked).toEqual(['never answered', 'breaks'])
  })

  test('and a stream that broke twice is read from volumes', async () => {
    await start()
    const { base, now } = await pair()
    await mustContent(now.device, base.device)
    await mustContent(now.device, base.device)
    expect(await bench.host().devices.content(now.device, base.device)).toBeNull()
    await mustContent(now.device, null)
    await clock.sleep(11 * 60_000)
    await mustContent(now.device, base.device)
  })
})

test('a call on a connection that is dead ends in time to be made again', () => {
  const { limits } = onInstance({ home: '/nowhere', cluster: () => '' })
  expect(2 * answerMs).toBeLessThan(limits.silence)
})

test('whether the direct API is to be had is not waited for where it throttles', async () => {
  await start()
  await bench.write(0, randomBytes(unitBytes))
  const { device } = await bench.snapshot()
  bench.server.faults.add({ action: 'GetSnapshotBlock', kind: 'throttled', times: 1_000 })
  expect(await bench.host().devices.content(device, null)).toBeNull()
  expect(bench.gets()).toBeLessThan(12)
})
