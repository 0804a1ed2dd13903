import { randomBytes } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { DirectBlocks } from '../../../src/backends/block/ebs/direct/blocks.ts'
import { DraftWriter } from '../../../src/backends/block/ebs/direct/draft-writer.ts'
import { ParentBlocks } from '../../../src/backends/block/ebs/direct/parent-blocks.ts'
import { askForSize } from '../../../src/backends/block/stream/ask-size.ts'
import { receiveBlocks } from '../../../src/backends/block/stream/receive.ts'
import { sendBlocks } from '../../../src/backends/block/stream/send.ts'
import { Input, Output } from '../../../src/lib/descriptor-io.ts'
import { blockBytes } from '../../ec2/blocks.ts'
import { fileDisks } from '../../ec2/file-disks.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { type Ec2Options, Ec2Server } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* Streams of blocks that become snapshots by the EBS direct API, without a volume. */

const clock = fastClock(200)
const sizeBytes = 8 * unitBytes
let directory: string
let server: Ec2Server
let disks: ReturnType<typeof fileDisks>
let host: Incarnation

beforeEach(() => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
})

const start = async (options: Ec2Options = {}, limits = {}) => {
  directory = await temporaryDirectory()
  disks = fileDisks(directory)
  server = await Ec2Server.start({ unitBytes, disks, times: { lag: 0 }, ...options })
  onTestFinished(() => server.close())
  host = await incarnate({ server, directory, clock, spec: 'ebs:', limits })
}
afterEach(() => host.die())

const count = (action: string) => server.calls().filter((each) => each === action).length
const left = () => server.world.snapshots.all().map(({ id }) => id)
const bytesOf = async (device: string) =>
  readFile(disks.path((await host.parts.ledger.read(device))?.snapshot?.snapshotId ?? ''))

/** What a pool of another kind holds. */
const source = async (name: string, bytes: Buffer) => {
  const path = join(directory, name)
  await writeFile(path, bytes)
  return { uuid: name, path, bytes }
}
type Source = Awaited<ReturnType<typeof source>>

const streamed = async (of: Source, base: Source | null): Promise<string> => {
  const path = join(directory, `${of.uuid}.stream`)
  const fd = openSync(path, 'w')
  const head = {
    ...{ streamUuid: of.uuid, baseUuid: base?.uuid ?? null, sizeBytes: of.bytes.length, fileSystem: 'ext4' as const },
  }
  const ranges = { by: 'extents', shares: false } as const
  await sendBlocks({ head, path: of.path, basePath: base?.path ?? null, ranges }, new Output(fd)).finally(() =>
    closeSync(fd),
  )
  return path
}

/** As the process does that receives. */
const receive = async (device: string, stream: string, baseUuid: string | null) => {
  const fd = openSync(stream, 'r')
  const proofPath = join(directory, `${device}.proof`)
  const order = { path: await host.devices.path(device), baseUuid, proofPath, sizing: host.devices.sizing(device) }
  await receiveBlocks(order, new Input(fd)).finally(() => closeSync(fd))
}
const arrived = async (of: Source, base: { of: Source; device: string } | null) => {
  const device = newDevice()
  await host.devices.arrive(device, base?.device ?? null)
  await receive(device, await streamed(of, base?.of ?? null), base?.of.uuid ?? null)
  const seal = await host.devices.seal(device)
  return { device, seal, of }
}
const withZeros = (from: number, to: number, bytes: Buffer) => Buffer.from(bytes).fill(0, from, to)

test('whole: a snapshot with its bytes and nothing else, and no block of zeros', async () => {
  await start()
  const bytes = withZeros(2 * blockBytes + 8_192, 5 * blockBytes, randomBytes(sizeBytes - 3 * 4_096))
  const { device, seal } = await arrived(await source('one', bytes), null)
  expect((await bytesOf(device)).equals(Buffer.concat([bytes, Buffer.alloc(3 * 4_096)]))).toBe(true)
  expect(await host.devices.sizeBytes(device)).toBe(sizeBytes)
  expect(await host.devices.isIntact(device, seal)).toBe(true)
  expect([count('PutSnapshotBlock'), left().length, server.world.volumes.all()]).toEqual([14, 1, []])
  // Promoted, it is a volume of it.
  await host.devices.clone(device, newDevice())
  expect(server.world.volumes.all()).toHaveLength(1)
  await host.devices.remove(device)
  expect(left()).toEqual([])
})

test('upon what is there: what changed is written, and what a block has besides is its parent’s', async () => {
  await start()
  const one = await source('one', withZeros(6 * blockBytes, 9 * blockBytes, randomBytes(sizeBytes)))
  const base = await arrived(one, null)
  const changed = Buffer.concat([one.bytes, Buffer.alloc(4 * blockBytes)])
  randomBytes(4_096).copy(changed, 5 * 4_096)
  randomBytes(blockBytes).copy(changed, 2 * blockBytes - 8_192)
  changed.fill(0, 4 * blockBytes + 4_096, 6 * blockBytes)
  randomBytes(4_096).copy(changed, 7 * blockBytes)
  randomBytes(4_096).copy(changed, 17 * blockBytes)
  const before = { puts: count('PutSnapshotBlock'), gets: count('GetSnapshotBlock') }
  const two = await source('two', changed)
  const now = await arrived(two, base)
  expect((await bytesOf(now.device)).equals(two.bytes)).toBe(true)
  // Blocks 0, 1, 2, 4, 5, 7 and 17; of 0, 1, 2 and 4 a part is the parent's, which was tried first.
  expect(count('PutSnapshotBlock') - before.puts).toBe(7)
  expect(count('GetSnapshotBlock') - before.gets).toBe(4 + 1)
  expect([server.world.volumes.all(), left().length]).toEqual([[], 2])
  // Of one lineage: the way out is by the direct API as well.
  expect(await host.devices.content(now.device, base.device)).not.toBeNull()
})

test('a stream that is smaller than its base is refused', async () => {
  await start()
  const base = await arrived(await source('one', randomBytes(sizeBytes)), null)
  const device = newDevice()
  await host.devices.arrive(device, base.device)
  const { path } = host.devices.sizing(device) as { path: string }
  await expect(askForSize(path, sizeBytes - unitBytes)).rejects.toThrow('does not become smaller')
})

describe('a call that goes wrong', () => {
  const actions = ['StartSnapshot', 'PutSnapshotBlock', 'CompleteSnapshot']
  const faults = ['lost reply', 'lost request', 'failing', 'throttled', 'damaged'] as const

  test.each(actions.flatMap((action) => faults.map((kind) => [kind, action] as const)))(
    '%s of %s: one snapshot, and its bytes',
    async (kind, action) => {
      await start({ times: { lag: 5 } })
      server.faults.add({ action, kind, times: 2 })
      const { writes, blocks } = host.parts.direct
      const tags = { 'drover:cluster': host.parts.surroundings.cluster() }
      const make = async (
        token: string,
        parentSnapshotId: string | null,
        write: (by: DraftWriter) => Promise<void>,
      ) => {
        const id = await writes.start({ token, gib: 8, parentSnapshotId, tags, kmsKeyArn: null })
        const parent =
          parentSnapshotId === null ? null : new ParentBlocks(blocks, { snapshotId: parentSnapshotId, sizeBytes })
        const writer = new DraftWriter(writes, id, parent)
        await write(writer)
        await writer.end()
        await host.parts.snapshots.whole(id, token)
        return id
      }
      const bytes = randomBytes(3 * blockBytes)
      const one = await make('one', null, (by) => by.data(blockBytes, bytes))
      const two = await make('two', one, (by) => by.zeros(2 * blockBytes + 100, blockBytes))
      const expected = Buffer.alloc(sizeBytes)
      bytes.copy(expected, blockBytes)
      expect((await readFile(disks.path(one))).equals(expected)).toBe(true)
      expected.fill(0, 2 * blockBytes + 100, 3 * blockBytes + 100)
      expect((await readFile(disks.path(two))).equals(expected)).toBe(true)
      expect(left().toSorted()).toEqual([one, two].toSorted())
    },
  )

  test('a block that never arrives whole breaks the stream, and is named; nothing is left', async () => {
    await start()
    const stream = await streamed(await source('one', randomBytes(4 * blockBytes)), null)
    const device = newDevice()
    await host.devices.arrive(device, null)
    server.faults.add({ action: 'PutSnapshotBlock', kind: 'damaged', times: 100 })
    await expect(receive(device, stream, null)).rejects.toMatchObject({
      ...{ code: 'STREAM_FAILED', message: expect.stringMatching(/block \d did not arrive whole at snapshot snap-/) },
    })
    expect(count('CompleteSnapshot')).toBe(0)
    await host.devices.remove(device)
    expect(left()).toEqual([])
  })

  test('a block that EBS still writes for a try before: it is waited for', async () => {
    await start()
    const { writes } = host.parts.direct
    const tags = { 'drover:cluster': host.parts.surroundings.cluster() }
    const id = await writes.start({ token: 'one', gib: 8, parentSnapshotId: null, tags, kmsKeyArn: null })
    let refusals = 5
    Object.assign(server.world.writings.get(id)?.busy ?? {}, { has: () => refusals-- > 0 })
    const writer = new DraftWriter(writes, id, null)
    await writer.data(0, randomBytes(blockBytes))
    await writer.end()
    expect(count('PutSnapshotBlock')).toBe(6)
  })

  test('a stream that is cut leaves nothing, also after a crash', async () => {
    await start()
    const stream = await streamed(await source('one', randomBytes(4 * blockBytes)), null)
    await truncate(stream, 3 * blockBytes)
    const device = newDevice()
    await host.devices.arrive(device, null)
    await expect(receive(device, stream, null)).rejects.toThrow()
    expect([count('CompleteSnapshot'), left().length]).toEqual([0, 1])
    host.die()
    host = await incarnate({ server, directory, clock, spec: 'ebs:' })
    await host.devices.remove(device)
    expect(left()).toEqual([])
  })
})

describe('where the direct API is not to be had, a volume is made', () => {
  const asked = async (device: string) => {
    const { path } = host.devices.sizing(device) as { path: string }
    return askForSize(path, sizeBytes)
  }

  test.each(['denied', 'lost reply', 'lost request'] as const)('%s', async (kind) => {
    await start({}, { silence: 20_000, settle: 20_000 })
    const base = await arrived(await source('one', randomBytes(sizeBytes)), null)
    server.faults.add({ action: 'StartSnapshot', kind, times: kind === 'denied' ? 1 : 1_000 })
    const device = newDevice()
    await host.devices.arrive(device, base.device)
    expect(await asked(device)).toEqual({ path: expect.stringContaining('vol-') })
    server.faults.clear()
    const [volume] = server.world.volumes.all()
    expect([volume?.snapshotId, volume?.size]).toEqual([base.seal.proof, 8])
    // What may have been started is not what it is sealed with.
    const { proof } = await host.devices.seal(device)
    expect([left().length, left().includes(proof ?? '')]).toEqual([2, true])
    await host.devices.remove(device)
    expect(left()).toEqual([base.seal.proof])
  })

  test('and for a while after a stream that broke', async () => {
    await start()
    const broken = newDevice()
    await host.devices.arrive(broken, null)
    expect(await asked(broken)).toHaveProperty('draft')
    await host.devices.remove(broken)
    const next = newDevice()
    await host.devices.arrive(next, null)
    expect(await asked(next)).toHaveProperty('path')
    await clock.sleep(11 * 60_000)
    const later = newDevice()
    await host.devices.arrive(later, null)
    expect(await asked(later)).toHaveProperty('draft')
  })
})

test('the parent’s blocks are found in order, whatever lies between those that are asked for', async () => {
  const listed = [...Array.from({ length: 30_000 }, (_, index) => index), 90_000]
  const begun: number[] = []
  const lists = {
    blocks: async function* (_: unknown, from: number) {
      begun.push(from)
      for (const index of listed) if (index >= from) yield { index, token: `${index}`, baseToken: null }
    },
  }
  const parent = new ParentBlocks({ lists } as unknown as DirectBlocks, {
    snapshotId: 'snap-1',
    sizeBytes: 100_000 * blockBytes,
  })
  const found = []
  for (const index of [1, 3, 25_000, 40_000, 90_000, 90_001, 150_000])
    found.push((await parent.find(index))?.index ?? null)
  expect(found).toEqual([1, 3, 25_000, null, 90_000, null, null])
  expect(begun).toEqual([1, 25_000, 40_000])
})

test('a stream that has grown far beyond its base: beyond the base’s end nothing is looked for there', async () => {
  await start()
  const { blocks, writes } = host.parts.direct
  const tags = { 'drover:cluster': host.parts.surroundings.cluster() }
  const id = await writes.start({ token: 'one', gib: 8, parentSnapshotId: null, tags, kmsKeyArn: null })
  const first = new DraftWriter(writes, id, null)
  await first.data(0, Buffer.alloc(blockBytes, 1))
  await first.end()
  await host.parts.snapshots.whole(id, 'one')
  const parent = new ParentBlocks(blocks, { snapshotId: id, sizeBytes })
  const beyond = sizeBytes / blockBytes
  expect([(await parent.find(0))?.index, await parent.find(beyond - 1), await parent.find(beyond + 20_000)]).toEqual([
    ...[0, null, null],
  ])
  expect(await new ParentBlocks(blocks, { snapshotId: id, sizeBytes }).find(beyond)).toBeNull()
})
