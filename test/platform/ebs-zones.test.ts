import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import type { EbsBackend } from '../../src/backends/block/ebs.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { exec, newId, recordOf } from '../contract/backend-bench.ts'
import { type LoopDisks, loopDisks } from '../ec2/loop-disks.ts'
import { believeToBeOn, ebsPool, fastClock, surroundingsOf, unitBytes } from '../ec2/pool.ts'
import { abroad, Ec2Server, elsewhere, here } from '../ec2/server.ts'

/* Hosts in two zones of one region of the strict EC2 server, and in another region: a volume goes from one to the other by its snapshots. */

const clock = fastClock(300)
const there = { ...here, ...elsewhere }
let disks: LoopDisks
let server: Ec2Server
let opened: EbsBackend[]

const start = async (instance: typeof here, spec?: string): Promise<EbsBackend> => {
  const surroundings = {
    ...surroundingsOf(server, disks.directory, clock),
    home: join(disks.directory, instance.instanceId),
    identity: async () => instance,
    disks: new KernelDisks(disks.links(instance.instanceId)),
  }
  const backend = ebsPool(surroundings, exec, clock, spec)
  await backend.open()
  opened.push(backend)
  return backend
}

beforeEach(async () => {
  opened = []
  disks = await loopDisks([here, there, abroad].map(({ instanceId }) => instanceId))
  server = await Ec2Server.start({ disks, unitBytes })
  believeToBeOn(server)
})
afterEach(async () => {
  for (const backend of opened) {
    for (const { volumeId } of (await backend.list()).records)
      await backend.unmount(volumeId, pathOf(backend, volumeId))
    await backend.close()
  }
  await server.close()
  await disks.dispose()
})

const pathOf = (backend: EbsBackend, id: VolumeId) => join(disks.directory, 'mnt', String(opened.indexOf(backend)), id)

/** Adds to a file of the volume's. @returns what it had */
const write = async (backend: EbsBackend, id: VolumeId, text: string): Promise<string> => {
  const path = pathOf(backend, id)
  await backend.mount(id, path)
  const file = join(path, 'data', 'file')
  const before = await readFile(file, 'utf8').catch(() => '')
  await writeFile(file, before + text)
  await backend.unmount(id, path)
  return before
}

const made = async (source: EbsBackend): Promise<VolumeId> => {
  const id = newId()
  await source.writeRecord({ ...recordOf(id, source), role: 'owner', epoch: 1 })
  await source.create(id, { sizeBytes: null })
  await write(source, id, 'one ')
  return id
}

const partial = 'move'

/** What a move's processes do, without its processes for the way between. */
const pipe = async ([from, ...args]: readonly string[], [to = '', ...others]: readonly string[]) => {
  const sender = spawn(from ?? '', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const receiver = spawn(to, others, { stdio: [sender.stdout ?? 'ignore', 'ignore', 'inherit'] })
  const [[sent], [received]] = await Promise.all([once(sender, 'exit'), once(receiver, 'exit')])
  expect([sent, received]).toEqual([0, 0])
}

const tell = async (source: EbsBackend, target: EbsBackend, id: VolumeId, name: string) =>
  pipe(await source.sharedSnapshots.sendCommand(id, name), await target.sharedSnapshots.prepareReceive(id, partial))

/** Volumes and snapshots that there are, as EC2 has them. */
const inCloud = (world = server.world) => ({
  volumes: world.volumes.all().filter(({ state }) => state !== 'deleting').length,
  snapshots: world.snapshots.all().length,
})

test('to another zone: nothing but the name of a snapshot is sent, the target makes its volume of it', async () => {
  const [source, target] = [await start(here), await start(there)]
  expect(await source.sharedSnapshots.reach()).toEqual(await target.sharedSnapshots.reach())
  expect(await source.handover.reach()).not.toBe(await target.handover.reach())
  const id = await made(source)
  await target.writeRecord({ ...recordOf(id, target), role: 'receiving', epoch: 0 })
  const first = await source.snapshots.create(id, 'move-0', 'move')
  await tell(source, target, id, 'move-0')
  for (const _ of ['once', 'again']) {
    const arrived = await target.sharedSnapshots.finishReceive(id, partial, 'move-0', first.streamUuid)
    expect(arrived.streamUuid).toBe(first.streamUuid)
    expect(await target.snapshots.intact(id, arrived)).toBe(true)
  }
  expect(inCloud()).toEqual({ volumes: 1, snapshots: 1 })
  await write(source, id, 'two ')
  const before = server.journal.length
  const last = await source.snapshots.create(id, 'move-1', 'move')
  expect(await source.snapshots.unchangedSince(id, 'move-1')).toBe(true)
  await tell(source, target, id, 'move-1')
  await target.sharedSnapshots.finishReceive(id, partial, 'move-1', last.streamUuid)
  await target.streams.promote(id, 'move-1', { sizeBytes: null })
  console.info(`to another zone: ${server.calls(before).join(', ')}`)
  expect(server.calls(before).filter((action) => /^Create(Volume|Snapshot)$/.test(action))).toEqual([
    'CreateSnapshot',
    'CreateVolume',
  ])
  await target.writeRecord({ ...recordOf(id, target), role: 'owner', epoch: 2 })
  expect(await write(target, id, 'three ')).toBe('one two ')
  // What the target removes is its note; what the source removes is the snapshot, and the target's volume stays.
  await target.snapshots.destroy(id, 'move-0')
  await target.settled()
  expect(inCloud().snapshots).toBe(2)
  await source.destroy(id)
  await source.settled()
  expect(inCloud()).toEqual({ volumes: 1, snapshots: 0 })
  expect(await write(target, id, 'four ')).toBe('one two three ')
  await target.destroy(id)
  await target.settled()
  expect(inCloud()).toEqual({ volumes: 0, snapshots: 0 })
})

test('what was told is not believed: EC2 has to say the same', async () => {
  const [source, target] = [await start(here), await start(there)]
  const [id, other] = [await made(source), await made(source)]
  for (const each of [id, other]) await target.writeRecord({ ...recordOf(each, target), role: 'receiving', epoch: 0 })
  const snapshot = await source.snapshots.create(id, 's', 'move')
  const finish = (of = id, uuid = snapshot.streamUuid) => target.sharedSnapshots.finishReceive(of, partial, 's', uuid)
  await expect(finish()).rejects.toMatchObject({ code: 'DATASET_MISSING' })
  await tell(source, target, id, 's')
  await expect(finish(id, 'another')).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  // Of another volume.
  await pipe(
    await source.sharedSnapshots.sendCommand(id, 's'),
    await target.sharedSnapshots.prepareReceive(other, partial),
  )
  await expect(finish(other)).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  // Not whole, another cluster's, and gone.
  const [cloud] = server.world.snapshots.all()
  if (cloud === undefined) throw new Error('no snapshot')
  for (const now of [
    { ...cloud, state: 'error' as const },
    { ...cloud, tags: { ...cloud.tags, 'drover:cluster': 'x'.repeat(26) } },
    { ...cloud, size: cloud.size + 1 },
    null,
  ]) {
    server.world.snapshots.put(cloud.id, now)
    await server.settled()
    await expect(finish()).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  }
  server.world.snapshots.put(cloud.id, cloud)
  await server.settled()
  expect((await finish()).streamUuid).toBe(snapshot.streamUuid)
  await target.streams.abortReceive(id, partial)
  expect(await target.streams.partials(id)).toEqual([])
})

test('given up: nothing of the target stays, the source is as it was', async () => {
  const [source, target] = [await start(here), await start(there)]
  const id = await made(source)
  await target.writeRecord({ ...recordOf(id, target), role: 'receiving', epoch: 0 })
  const snapshot = await source.snapshots.create(id, 's', 'move')
  await tell(source, target, id, 's')
  await target.streams.abortReceive(id, partial)
  await tell(source, target, id, 's')
  await target.sharedSnapshots.finishReceive(id, partial, 's', snapshot.streamUuid)
  await target.streams.promote(id, 's', { sizeBytes: null })
  // The source's snapshot goes while the target has a volume of it.
  await source.snapshots.destroy(id, 's')
  await source.settled()
  await target.destroy(id)
  await target.settled()
  expect(inCloud()).toEqual({ volumes: 1, snapshots: 0 })
  expect(await write(source, id, 'two ')).toBe('one ')
})

test('what was written since a snapshot is counted by the kernel, nothing is read for it', async () => {
  const source = await start(here)
  const id = await made(source)
  const snapshot = await source.snapshots.create(id, 's', 'move')
  const before = server.journal.length
  expect(await source.snapshots.changedBytes(id, snapshot)).toBe(0)
  expect(await source.snapshots.unchangedSince(id, 's')).toBe(true)
  // No volume was made to look at the snapshot.
  expect(server.calls(before)).not.toContain('CreateVolume')
  await write(source, id, 'two ')
  expect(await source.snapshots.unchangedSince(id, 's')).toBe(false)
  // Attached anew it is compared.
  const again = await source.snapshots.create(id, 'again', 'move')
  await source.handover.letGo(id)
  await source.handover.keep(id)
  expect(await source.snapshots.changedBytes(id, again)).toBe(0)
  expect(await source.snapshots.unchangedSince(id, 'again')).toBe(true)
  expect(server.calls(before)).toContain('CreateVolume')
})

test('a snapshot that EC2 has not ended is waited for with nothing held up; given up it is removed', async () => {
  const source = await start(here)
  const id = await made(source)
  Object.assign(server.world.times, { snapshot: 600_000 })
  const undone = new AbortController()
  const taken = await source.snapshots.take?.(id, 's', undone.signal)
  expect(await taken?.isWhole(1_000)).toBe(false)
  expect(await write(source, id, 'two ')).toBe('one ')
  undone.abort(new Error('undone'))
  await expect(taken?.isWhole(1_000)).rejects.toThrow('undone')
  await expect.poll(() => inCloud()).toEqual({ volumes: 1, snapshots: 0 })
  Object.assign(server.world.times, { snapshot: 10 })
  const again = await source.snapshots.take?.(id, 's', new AbortController().signal)
  expect(await again?.isWhole(600_000)).toBe(true)
  const before = server.journal.length
  const snapshot = await source.snapshots.create(id, 's', 'move')
  // It is known to be whole.
  expect(server.calls(before)).toEqual([])
  expect(await source.snapshots.intact(id, snapshot)).toBe(true)
  expect(await source.snapshots.take?.(id, 's', new AbortController().signal)).toBeNull()
})

test('what a crash leaves of a snapshot on its way is removed at the next start, and nothing of anybody else', async () => {
  const source = await start(here)
  const id = await made(source)
  Object.assign(server.world.times, { snapshot: 600_000 })
  await source.snapshots.take?.(id, 's', new AbortController().signal)
  const [cloud] = server.world.snapshots.all()
  if (cloud === undefined) throw new Error('no snapshot')
  const foreign = server.plantSnapshot({ ...cloud.tags, 'drover:cluster': 'x'.repeat(26) })
  const again = await start(here)
  await again.settled()
  await expect.poll(() => server.world.snapshots.all().map((each) => each.id)).toEqual([foreign])
  expect(await write(again, id, 'two ')).toBe('one ')
})

test('answers are lost, describes lag behind, an attach fails: one snapshot, one volume, nothing left', async () => {
  const [source, target] = [await start(here), await start(there)]
  const id = await made(source)
  await target.writeRecord({ ...recordOf(id, target), role: 'receiving', epoch: 0 })
  Object.assign(server.world.times, { lag: 100 })
  server.faults.add({ action: 'CreateSnapshot', kind: 'lost reply' })
  const snapshot = await source.snapshots.create(id, 's', 'move')
  await tell(source, target, id, 's')
  await target.sharedSnapshots.finishReceive(id, partial, 's', snapshot.streamUuid)
  server.faults.add({ action: 'AttachVolume', kind: 'denied' })
  await expect(target.streams.promote(id, 's', { sizeBytes: null })).rejects.toMatchObject({ code: 'NOT_PERMITTED' })
  await target.settled()
  expect(inCloud()).toEqual({ volumes: 1, snapshots: 1 })
  server.faults.add({ action: 'CreateVolume', kind: 'lost reply' })
  server.faults.add({ action: 'AttachVolume', kind: 'lost reply' })
  await target.streams.promote(id, 's', { sizeBytes: null })
  expect(inCloud()).toEqual({ volumes: 2, snapshots: 1 })
  await target.writeRecord({ ...recordOf(id, target), role: 'owner', epoch: 2 })
  expect(await write(target, id, 'two ')).toBe('one ')
})

test('what a mount writes at its end is told as written when it would have to be looked for', async () => {
  const source = await start(here)
  const id = await made(source)
  const path = pathOf(source, id)
  await source.mount(id, path)
  await source.snapshots.create(id, 's', 'move')
  await source.unmount(id, path)
  const before = server.journal.length
  expect(await source.snapshots.unchangedSince(id, 's', { quick: true })).toBe(false)
  await source.snapshots.create(id, 't', 'move')
  expect(await source.snapshots.unchangedSince(id, 't', { quick: true })).toBe(true)
  expect(server.calls(before)).not.toContain('CreateVolume')
})

test("to another region: EC2 copies each snapshot there, once, and the copies are the target's", async () => {
  const [source, target] = [await start(here), await start(abroad)]
  const reaches = [await source.sharedSnapshots.reach(), await target.sharedSnapshots.reach()]
  expect(reaches.map(({ place }) => place)).toEqual([here.region, abroad.region])
  expect(reaches[0]?.reach).toBe(reaches[1]?.reach)
  const id = await made(source)
  await target.writeRecord({ ...recordOf(id, target), role: 'receiving', epoch: 0 })
  const snapshot = await source.snapshots.create(id, 's', 'move')
  await tell(source, target, id, 's')
  const finish = () => target.sharedSnapshots.finishReceive(id, partial, 's', snapshot.streamUuid)
  Object.assign(server.world.times, { snapshot: 600, lag: 100 })
  const before = server.journal.length
  server.faults.add({ action: 'CopySnapshot', kind: 'lost reply' })
  // Asked again it goes on with the copy that is under way.
  await expect(finish()).rejects.toMatchObject({ code: 'TIMED_OUT', details: { pending: true } })
  await expect
    .poll(() =>
      finish().then(
        ({ streamUuid }) => streamUuid,
        () => null,
      ),
    )
    .toBe(snapshot.streamUuid)
  expect(server.calls(before).filter((action) => action === 'CopySnapshot')).toHaveLength(1)
  await target.streams.promote(id, 's', { sizeBytes: null })
  expect([inCloud(), inCloud(server.abroad)]).toEqual([
    { volumes: 1, snapshots: 1 },
    { volumes: 1, snapshots: 1 },
  ])
  await target.writeRecord({ ...recordOf(id, target), role: 'owner', epoch: 2 })
  expect(await write(target, id, 'two ')).toBe('one ')
  await source.destroy(id)
  await source.settled()
  expect(await target.snapshots.intact(id, await finish())).toBe(true)
  await target.destroy(id)
  await target.settled()
  expect([inCloud(), inCloud(server.abroad)]).toEqual([
    { volumes: 0, snapshots: 0 },
    { volumes: 0, snapshots: 0 },
  ])
})

test('given up on the way to another region: the copy is removed, also after a crash, the source is as it was', async () => {
  const [source, target] = [await start(here), await start(abroad)]
  const id = await made(source)
  await target.writeRecord({ ...recordOf(id, target), role: 'receiving', epoch: 0 })
  const snapshot = await source.snapshots.create(id, 's', 'move')
  await tell(source, target, id, 's')
  const finishOn = (backend: EbsBackend) => backend.sharedSnapshots.finishReceive(id, partial, 's', snapshot.streamUuid)
  const [cloud] = server.world.snapshots.all()
  if (cloud === undefined) throw new Error('no snapshot')
  // Somebody else's, whatever was told.
  server.world.snapshots.put(cloud.id, { ...cloud, tags: { ...cloud.tags, 'drover:cluster': 'x'.repeat(26) } })
  await server.settled()
  await expect(finishOn(target)).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  server.world.snapshots.put(cloud.id, cloud)
  await server.settled()
  Object.assign(server.world.times, { snapshot: 600_000 })
  await expect(finishOn(target)).rejects.toMatchObject({ details: { pending: true } })
  expect(inCloud(server.abroad)).toEqual({ volumes: 0, snapshots: 1 })
  // The daemon dies, and its successor goes on with the same copy.
  const again = await start(abroad)
  await expect(finishOn(again)).rejects.toMatchObject({ details: { pending: true } })
  expect(inCloud(server.abroad)).toEqual({ volumes: 0, snapshots: 1 })
  await again.streams.abortReceive(id, partial)
  await again.settled()
  expect([inCloud(), inCloud(server.abroad)]).toEqual([
    { volumes: 1, snapshots: 1 },
    { volumes: 0, snapshots: 0 },
  ])
  expect(await write(source, id, 'two ')).toBe('one ')
})
