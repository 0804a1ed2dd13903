import { randomBytes } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { CallBudget } from '../../../src/backends/block/ebs/budget.ts'
import { Calls } from '../../../src/backends/block/ebs/calls.ts'
import { DirectAccess } from '../../../src/backends/block/ebs/direct/access.ts'
import { DirectBlocks } from '../../../src/backends/block/ebs/direct/blocks.ts'
import { connectEbs } from '../../../src/backends/block/ebs/direct/client.ts'
import { receiveBlocks } from '../../../src/backends/block/stream/receive.ts'
import { type SendOrder, sendBlocks } from '../../../src/backends/block/stream/send.ts'
import { Input, Output } from '../../../src/lib/descriptor-io.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { blockBytes } from '../../ec2/blocks.ts'
import { fileDisks } from '../../ec2/file-disks.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { type Ec2Options, Ec2Server, here } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* Snapshots by the EBS direct API, from a volume of 128 blocks whose bytes are a file. */

const clock = fastClock(200)
const sizeBytes = 64 * unitBytes
let directory: string
let server: Ec2Server
let disks: ReturnType<typeof fileDisks>
let host: Incarnation
let live: string

beforeEach(() => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
})

const start = async (options: Ec2Options = {}) => {
  directory = await temporaryDirectory()
  disks = fileDisks(directory)
  server = await Ec2Server.start({ unitBytes, disks, ...options })
  onTestFinished(() => server.close())
  host = await incarnate({ server, directory, clock, spec: 'ebs:?direct=yes' })
  live = newDevice()
  await host.devices.create(live, sizeBytes)
}
afterEach(() => host.die())

const write = async (at: number, bytes: Buffer) => {
  const volumeId = (await host.parts.ledger.read(live))?.volume?.volumeId ?? ''
  const file = await open(disks.path(volumeId), 'r+')
  await file.write(bytes, 0, bytes.length, at).finally(() => file.close())
}
/** The device, sealed, and its id in EC2. */
const snapshot = async () => {
  const device = newDevice()
  await host.devices.clone(live, device, { toBeSealed: true })
  const { proof } = await host.devices.seal(device)
  return { device, id: proof ?? '' }
}
const gets = () => server.journal.filter(({ action }) => action === 'GetSnapshotBlock').length
const streamed = async (order: SendOrder): Promise<Buffer> => {
  const path = join(directory, 'stream')
  const fd = openSync(path, 'w')
  await sendBlocks(order, new Output(fd)).finally(() => closeSync(fd))
  return readFile(path)
}
const head = (baseUuid: string | null) => ({ streamUuid: 'new', baseUuid, sizeBytes, fileSystem: 'ext4' as const })
const mustContent = async (device: string, base: string | null) => {
  const content = await host.devices.content(device, base)
  if (content === null) throw new Error('the direct API is not used')
  return content
}
const blocksOf = async () => {
  const client = await connectEbs({ region: here.region, endpoint: server.endpoint })
  return new DirectBlocks(async () => client, new Calls(clock, new CallBudget(clock), silentLogger))
}
const damaged = (times: number) => server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged', times })

/** A volume an eighth of which is written, and 1 % of it, in one place, changed between two snapshots. */
const changedPercent = 655_360
const pair = async () => {
  await write(0, randomBytes(sizeBytes / 8))
  const base = await snapshot()
  await write(10 * blockBytes, randomBytes(changedPercent))
  await write(4 * blockBytes, Buffer.alloc(blockBytes / 2))
  return { base, now: await snapshot() }
}

test('a whole snapshot: what was never written is not read, and the bytes are the same', async () => {
  await start()
  await write(0, randomBytes(3 * blockBytes))
  await write(sizeBytes - 5_000, randomBytes(5_000))
  const { device, id } = await snapshot()
  const content = await mustContent(device, null)
  const before = gets()
  const stream = await streamed({ head: head(null), content })
  expect([gets() - before, server.world.volumes.all().length]).toEqual([4, 1])
  const path = join(directory, 'received')
  await (await open(path, 'w')).close()
  const fd = openSync(join(directory, 'stream'), 'r')
  await receiveBlocks(
    { path, baseUuid: null, proofPath: join(directory, 'proof'), sizing: { by: 'truncate' } },
    new Input(fd),
  ).finally(() => closeSync(fd))
  expect((await readFile(path)).equals(await readFile(disks.path(id)))).toBe(true)
  expect(stream.length).toBeLessThan(3 * blockBytes + 3 * 4096)
})

test('1 % changed: that is read and sent, as the same stream that is read from the disks', async () => {
  await start()
  const { base, now } = await pair()
  const content = await mustContent(now.device, base.device)
  const before = gets()
  const stream = await streamed({ head: head('old'), content })
  const changed = changedPercent + blockBytes / 2
  const read = (gets() - before) * blockBytes
  console.info(`of ${sizeBytes} bytes ${changed} changed: ${stream.length} sent, ${read} read of both snapshots`)
  // Two blocks and two that are touched in part, of each of both snapshots.
  expect(gets() - before).toBe(2 * 3)
  expect(stream.length).toBeLessThan(changedPercent * 1.2)
  const ranges = { by: 'extents', shares: false } as const
  const paths = { path: disks.path(now.id), basePath: disks.path(base.id), ranges }
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
    for (const action of ['ListChangedBlocks', 'GetSnapshotBlock']) server.faults.add({ action, kind })
  }
  const found = []
  const blocks = await blocksOf()
  for await (const block of blocks.lists.blocks({ snapshotId: now.id, baseSnapshotId: base.id })) {
    found.push(block.index)
    await blocks.read({ snapshotId: now.id, baseSnapshotId: base.id }, block)
  }
  expect(found).toEqual([4, 10, 11])
})

test('tokens that have expired are asked for anew, each block is read once', async () => {
  await start({ times: { blockToken: 1, pageToken: 1 }, quotas: { blocksAPage: 2 } })
  await write(0, randomBytes(9 * blockBytes))
  const { id } = await snapshot()
  const blocks = await blocksOf()
  const of = { snapshotId: id, baseSnapshotId: null }
  const listed = []
  for await (const block of blocks.lists.blocks(of)) listed.push(block)
  expect(listed.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
  Object.assign(server.world.times, { blockToken: 60_000, pageToken: 60_000 })
  const [, , third] = listed
  if (third === undefined) throw new Error('no third block')
  const { bytes } = await blocks.read(of, third)
  const start3 = 2 * blockBytes
  expect(bytes.equals((await readFile(disks.path(id))).subarray(start3, start3 + blockBytes))).toBe(true)
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
  const access = new DirectAccess(await blocksOf(), patient, logger)
  const of = { snapshotId: now.id, baseSnapshotId: base.id }
  server.faults.add({ action: 'ListChangedBlocks', kind: 'denied' })
  expect([await access.reaches(of), await access.reaches(of)]).toEqual([false, false])
  await patient.sleep(11 * 60_000)
  server.faults.add({ action: 'ListChangedBlocks', kind: 'lost request', times: 1_000 })
  expect(await access.reaches(of)).toBe(false)
  expect(said).toEqual(['the EBS direct API cannot be used; whole volumes are read instead'])
  server.faults.clear()
  await patient.sleep(11 * 60_000)
  // May list and may not read: that shows before anything depends on it.
  server.faults.add({ action: 'GetSnapshotBlock', kind: 'denied' })
  expect(await access.reaches(of)).toBe(false)
  await patient.sleep(11 * 60_000)
  expect(await access.reaches(of)).toBe(true)
  // Of another lineage: not by it, and others go on.
  const other = newDevice()
  await host.devices.create(other, unitBytes)
  const { proof } = await host.devices.seal(other)
  expect(await access.reaches({ snapshotId: proof ?? '', baseSnapshotId: base.id })).toBe(false)
  expect(await access.reaches(of)).toBe(true)
})

test('what is written is compared by a snapshot taken for that, which goes', async () => {
  await start()
  await write(0, randomBytes(3 * unitBytes))
  const base = await snapshot()
  const changes = async () => {
    const found = []
    const told = await host.devices.changes(live, base.device, sizeBytes)
    if (told === null) throw new Error('the direct API is not used')
    for await (const range of told) found.push(range)
    return found
  }
  expect(await changes()).toEqual([])
  await write(8_192, randomBytes(4_096))
  await write(5 * unitBytes, randomBytes(10))
  expect(await changes()).toEqual([
    { start: 8_192, end: 12_288 },
    { start: 5 * unitBytes, end: 5 * unitBytes + 4_096 },
  ])
  const left = () => server.world.snapshots.all().map(({ id }) => id)
  expect(left()).toEqual([base.id])
  // A crash in between: the next start removes it.
  await host.devices.changes(live, base.device, sizeBytes)
  expect(left()).toHaveLength(2)
  host.die()
  host = await incarnate({ server, directory, clock, spec: 'ebs:?direct=yes' })
  await host.devices.open()
  await expect.poll(left).toEqual([base.id])
  expect((await host.parts.ledger.read(live))?.snapshot).toBeNull()
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
