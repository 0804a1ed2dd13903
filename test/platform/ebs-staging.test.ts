import { randomBytes } from 'node:crypto'
import { open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { Backend } from '../../src/backends/backend.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { newId, recordOf } from '../contract/backend-bench.ts'
import { realHands } from '../contract/hands.ts'
import { openedEbs } from '../ec2/opened-pool.ts'
import type { Ec2Server } from '../ec2/server.ts'
import { sh } from '../support/loop-btrfs.ts'
import { loopDisk } from '../support/loop-disk.ts'
import { digestOf } from '../support/tree-digest.ts'
import { carry, change, digest, fileBytes, mounted, sizeBytes, snapshotsOf } from '../vm/pairs/pair-test.ts'
import { pools } from '../vm/pairs/pools.ts'

/* File by file into EBS and out of it by local images: blocks go by the EBS direct API, and no volume is made for it. */

const count = (server: Ec2Server, since: number) => {
  const calls = server.calls(since)
  const of = (action: string) => calls.filter((each) => each === action).length
  return {
    volumes: of('CreateVolume') + of('AttachVolume'),
    taken: of('CreateSnapshot'),
    started: of('StartSnapshot'),
    put: of('PutSnapshotBlock'),
    got: of('GetSnapshotBlock'),
  }
}

/** Blocks in which the last snapshot differs from the one before. */
const changed = async ({ world }: Ec2Server): Promise<number> => {
  const [before, last] = world.snapshots
    .all()
    .toSorted((one, other) => one.startedAt.localeCompare(other.startedAt))
    .slice(-2)
  const [then, now] = await Promise.all([before, last].map((each) => world.disks.blocks(each?.id ?? '')))
  const indexes = new Set([...(then?.keys() ?? []), ...(now?.keys() ?? [])])
  return [...indexes].filter((index) => then?.get(index) !== now?.get(index)).length
}

const changeFile = async (data: string): Promise<void> => {
  const file = await open(join(data, 'big'), 'r+')
  await change(file).finally(() => file.close())
}

const twoSnapshots = (on: Backend, id: VolumeId, names: readonly [string, string]) =>
  mounted(on, id, async (data) => {
    const first = await snapshotsOf(on).create(id, names[0], 'move')
    await changeFile(data)
    return [first, await snapshotsOf(on).create(id, names[1], 'move')] as const
  })

test('a directory that gets full while files arrive: NO_SPACE, and nothing of it is left', async () => {
  const disk = await loopDisk('ext4', 96 * 2 ** 20)
  onTestFinished(() => disk.dispose())
  const { server, backend } = await openedEbs(`ebs:?size=64&staging=${disk.path}`)
  const id = newId()
  await backend.writeRecord(recordOf(id, backend))
  const { trees } = backend
  await trees.prepareReceive(id, 'move1', null, { sizeBytes })
  const filled = trees.withPartial(id, 'move1', async ({ path }) => {
    const write = realHands.writeFile(join(path, 'data', 'big'), randomBytes(128 * 2 ** 20), { flush: true })
    await expect(write).rejects.toThrow()
  })
  await expect(filled).rejects.toMatchObject({
    code: 'NO_SPACE',
    message: expect.stringMatching(/^no space in the staging directory [^\n]+$/),
  })
  await backend.streams.abortReceive(id, 'move1')
  await backend.settled()
  expect(await readdir(join(disk.path, 'drover-images'))).toEqual([])
  expect(count(server, 0)).toMatchObject({ volumes: 0, started: 0 })
}, 900_000)

test('where the direct API is refused all goes by volumes, as without images', async () => {
  const disk = await loopDisk('xfs')
  onTestFinished(() => disk.dispose())
  const { server, backend: ebs } = await openedEbs(`ebs:?size=64&staging=${disk.path}`)
  const source = await pools.btrfs()
  const id = newId()
  for (const backend of [source, ebs]) await backend.writeRecord(recordOf(id, backend))
  await source.create(id, { sizeBytes })
  await mounted(source, id, async (data) => {
    await realHands.writeFile(join(data, 'big'), randomBytes(fileBytes))
  })
  const [one, two] = await twoSnapshots(source, id, ['s1', 's2'])
  // An image is made, and its blocks are not taken: they are written to a volume.
  server.faults.add({ action: 'StartSnapshot', kind: 'denied' })
  await carry(source, ebs, id, one, null)
  expect(count(server, 0)).toMatchObject({ volumes: 2, taken: 1, started: 1, put: 0 })
  await carry(source, ebs, id, two, one)
  await ebs.close()
  await sh('chattr', '-R', '-i', join(disk.path, 'drover-images'))
  await rm(join(disk.path, 'drover-images'), { recursive: true })
  await ebs.open()
  const since = server.journal.length
  server.faults.add({ action: 'ListSnapshotBlocks', kind: 'denied' })
  expect(await digest(ebs, id, 's2')).toBe(await digest(source, id, 's2'))
  expect(count(server, since)).toMatchObject({ volumes: 2, got: 0 })
}, 900_000)

test('btrfs, ebs, btrfs: whole, and upon what is there, contents proved; no volume but the one that is promoted', async () => {
  const disk = await loopDisk('xfs')
  onTestFinished(() => disk.dispose())
  const { server, backend: ebs } = await openedEbs(`ebs:?size=64&staging=${disk.path}`)
  const [source, target] = [await pools.btrfs(), await pools.btrfs()]
  const id = newId()
  for (const backend of [source, ebs, target]) await backend.writeRecord(recordOf(id, backend))
  await source.create(id, { sizeBytes })
  await mounted(source, id, async (data) => {
    await realHands.plantHostileTree(data)
    await realHands.writeFile(join(data, 'big'), Buffer.alloc(fileBytes, 'some text of no meaning'))
  })
  let since = server.journal.length
  const round = () => {
    const found = count(server, since)
    since = server.journal.length
    return found
  }

  const [one, two] = await twoSnapshots(source, id, ['s1', 's2'])
  await carry(source, ebs, id, one, null)
  expect(round()).toMatchObject({ volumes: 0, taken: 0, started: 1, got: 0 })
  await carry(source, ebs, id, two, one)
  const arrived = round()
  expect(arrived).toMatchObject({ volumes: 0, taken: 0, started: 1 })
  expect(arrived.put).toBe(await changed(server))
  expect(arrived.put).toBeLessThan(fileBytes / 2 ** 19)
  // Whether the parent can be read is tried.
  expect(arrived.got).toBeLessThanOrEqual(1)
  await ebs.streams?.promote(id, 's2', { sizeBytes })
  expect(round()).toMatchObject({ started: 0, put: 0, got: 0 })

  const [three, four] = await twoSnapshots(ebs, id, ['s3', 's4'])
  const between = await changed(server)
  round()
  await carry(ebs, target, id, three, null)
  // Upon the image of what arrived last.
  const first = round()
  expect(first).toMatchObject({ volumes: 0, started: 0, put: 0 })
  await carry(ebs, target, id, four, three)
  const left = round()
  expect(left).toMatchObject({ volumes: 0, started: 0, put: 0 })
  // Whether both can be read is tried.
  expect(left.got).toBe(between + 2)
  console.info(`arrived by ${arrived.put} blocks upon a base; left by ${first.got}, then ${left.got}`)
  await target.streams?.promote(id, 's4', { sizeBytes })
  await mounted(target, id, async (data) => expect(digestOf(data)).toBe(await digest(ebs, id, 's4')))

  await ebs.destroy(id)
  await ebs.settled()
  expect(await readdir(join(disk.path, 'drover-images'))).toEqual([])
}, 900_000)
