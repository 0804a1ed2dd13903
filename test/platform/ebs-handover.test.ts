import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import type { EbsBackend } from '../../src/backends/block/ebs.ts'
import type { Role } from '../../src/domain/dataset.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import { exec, newId, recordOf } from '../contract/backend-bench.ts'
import { type LoopDisks, loopDisks } from '../ec2/loop-disks.ts'
import { believeToBeOn, ebsPool, fastClock, surroundingsOf, unitBytes } from '../ec2/pool.ts'
import { beside, Ec2Server, here } from '../ec2/server.ts'
import { sh } from '../support/loop-btrfs.ts'

/* Two hosts in one zone of the strict EC2 server: a volume goes from one to the other by a detach and an attach. */

const clock = fastClock(300)
let disks: LoopDisks
let server: Ec2Server
let hosts: EbsBackend[]

/** The pool of an instance, as a start of vold opens it. */
const start = async (instance: typeof here, limits = {}): Promise<EbsBackend> => {
  const standard = surroundingsOf(server, disks.directory, clock)
  const backend = ebsPool(
    {
      ...standard,
      home: join(disks.directory, instance.instanceId),
      identity: async () => instance,
      disks: new KernelDisks(disks.links(instance.instanceId)),
      limits: { ...standard.limits, ...limits },
    },
    exec,
    clock,
  )
  await backend.open()
  hosts.push(backend)
  return backend
}

beforeEach(async () => {
  hosts = []
  disks = await loopDisks([here.instanceId, beside.instanceId])
  server = await Ec2Server.start({ disks, unitBytes })
  believeToBeOn(server)
})
afterEach(async () => {
  for (const backend of hosts) {
    for (const { volumeId } of (await backend.list()).records)
      await backend.unmount(volumeId, pathOf(backend, volumeId))
    await backend.close()
  }
  await server.close()
  await disks.dispose()
})

const pathOf = (backend: EbsBackend, id: VolumeId) => join(disks.directory, 'mnt', String(hosts.indexOf(backend)), id)
const role = async (backend: EbsBackend, id: VolumeId, is: Role, epoch = 1) =>
  backend.writeRecord({ ...recordOf(id, backend), role: is, epoch })
const write = async (backend: EbsBackend, id: VolumeId, text: string): Promise<string> => {
  const path = pathOf(backend, id)
  await backend.mount(id, path)
  const file = join(path, 'data', 'file')
  const before = await readFile(file, 'utf8').catch(() => '')
  await writeFile(file, before + text)
  await backend.unmount(id, path)
  return before
}
/** Instances that have the only volume there is; fails when there are several volumes. */
const attachedTo = () => {
  const [volume, ...others] = server.world.volumes.all().filter(({ state }) => state !== 'deleting')
  expect(others).toEqual([])
  return volume === undefined ? 'gone' : (volume.attachment?.instanceId ?? null)
}

/** An owned volume with `one` in it, and what its pool tells of it. */
const made = async (source: EbsBackend) => {
  const id = newId()
  await role(source, id, 'owner')
  await source.create(id, { sizeBytes: null })
  await write(source, id, 'one ')
  return { id, told: await source.handover.describe(id, null) }
}

test('there and back, the only volume, its content with it; never on two instances', async () => {
  const [source, target] = [await start(here), await start(beside)]
  expect(await source.handover.reach()).toBe(await target.handover.reach())
  const { id, told } = await made(source)
  const sent = JSON.parse(JSON.stringify(told))
  await role(source, id, 'sealed')
  await role(target, id, 'receiving', 0)
  const live = await source.live(id)
  for (const _ of ['once', 'again']) expect((await target.handover.expect(id, sent)).uuid).toBe(live?.uuid)
  expect(attachedTo()).toBe(here.instanceId)
  const before = server.journal.length
  for (const _ of ['once', 'again']) await source.handover.letGo(id)
  expect(attachedTo()).toBeNull()
  await role(source, id, 'released')
  // Nobody attaches it any more on the host that let it go.
  await expect(source.mount(id, pathOf(source, id))).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await expect(source.snapshots.create(id, 's', 'move')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  for (const _ of ['once', 'again']) await target.handover.take(id)
  await role(target, id, 'owner', 2)
  expect(attachedTo()).toBe(beside.instanceId)
  expect(await write(target, id, 'two ')).toBe('one ')
  await role(source, id, 'replica', 2)
  await source.destroyLive(id)
  expect(await source.live(id)).toBeNull()
  await source.settled()
  expect(await readdir(join(disks.directory, here.instanceId, 'devices'))).toEqual([])
  console.info(`a volume passes on: ${server.calls(before).join(', ')}`)

  // And back, at once.
  await role(target, id, 'sealed', 2)
  await source.handover.expect(id, await target.handover.describe(id, null))
  await target.handover.letGo(id)
  await source.handover.take(id)
  await role(source, id, 'owner', 4)
  await target.destroyLive(id)
  expect(await write(source, id, 'three ')).toBe('one two ')
  expect(attachedTo()).toBe(here.instanceId)
  await source.destroy(id)
  await source.settled()
  expect(attachedTo()).toBe('gone')
})

test('undone before and after it was let go: the source has it again, whatever the target removes', async () => {
  const [source, target] = [await start(here), await start(beside)]
  const { id, told } = await made(source)
  await role(target, id, 'receiving', 0)
  await target.handover.expect(id, told)
  await target.destroyLive(id)
  await target.destroy(id)
  await target.settled()
  expect(await write(source, id, 'two ')).toBe('one ')

  await role(target, id, 'receiving', 0)
  await target.handover.expect(id, told)
  await source.handover.letGo(id)
  await target.handover.take(id)
  expect(attachedTo()).toBe(beside.instanceId)
  // The target refuses: it lets go before it forgets.
  await target.destroyLive(id)
  expect(attachedTo()).toBeNull()
  await target.destroy(id)
  await target.settled()
  await role(source, id, 'owner', 3)
  expect(await write(source, id, 'three ')).toBe('one two ')
})

test('crashes: what the records say decides at the next start', async () => {
  const first = await start(here)
  const { id, told } = await made(first)
  await first.handover.letGo(id)
  // The record still says owner: it is the owner's.
  const source = await start(here)
  expect(await write(source, id, 'two ')).toBe('one ')
  await role(source, id, 'sealed')
  await source.handover.letGo(id)
  await role(source, id, 'released')

  const target = await start(beside)
  await role(target, id, 'receiving', 0)
  await target.handover.expect(id, told)
  await target.handover.take(id)
  const again = await start(beside)
  expect(attachedTo()).toBe(beside.instanceId)
  await role(again, id, 'owner', 2)
  // A removal from a pool that is no owner leaves the volume alone, also as a whole.
  await role(source, id, 'replica', 2)
  await source.destroy(id)
  await source.settled()
  expect(await write(again, id, 'three ')).toBe('one two ')
})

test('a host whose disk was put back to before the move neither attaches nor deletes what has gone', async () => {
  const [source, target] = [await start(here), await start(beside)]
  const { id, told } = await made(source)
  await role(target, id, 'receiving', 0)
  await target.handover.expect(id, told)
  const home = join(disks.directory, here.instanceId)
  await sh('cp', '-a', home, `${home}.old`)
  await source.handover.letGo(id)
  await target.handover.take(id)
  await role(target, id, 'owner', 2)
  await write(target, id, 'two ')
  await role(target, id, 'sealed', 2)
  await target.handover.letGo(id)
  await server.settled()
  await sh('rm', '-rf', home)
  await sh('mv', `${home}.old`, home)
  const old = await start(here)
  await expect(old.mount(id, pathOf(old, id))).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  await old.destroy(id)
  await old.settled()
  expect(attachedTo()).toBeNull()
  await role(target, id, 'owner', 3)
  expect(await write(target, id, 'three ')).toBe('one two ')
})

test('what is still mounted, or does not detach, is not let go; the source stays able to write', async () => {
  const source = await start(here, { detach: 60_000 })
  const { id } = await made(source)
  await source.mount(id, pathOf(source, id))
  await expect(source.handover.letGo(id)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  await source.unmount(id, pathOf(source, id))
  const [volume] = server.world.volumes.all()
  server.world.stuck.add(volume?.id ?? '')
  await expect(source.handover.letGo(id)).rejects.toMatchObject({
    code: 'TIMED_OUT',
    message: expect.stringContaining(here.instanceId),
  })
  expect(server.journal.some(({ parameters }) => 'Force' in parameters)).toBe(false)
  await role(source, id, 'owner', 3)
  expect(await write(source, id, 'two ')).toBe('one ')
})

test('what cannot be taken: another instance has it, or it is not ours any more', async () => {
  const [source, target] = [await start(here), await start(beside)]
  const { id, told } = await made(source)
  await role(target, id, 'receiving', 0)
  await target.handover.expect(id, told)
  await expect(target.handover.take(id)).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(attachedTo()).toBe(here.instanceId)
  const [volume] = server.world.volumes.all()
  if (volume === undefined) throw new Error('no volume')
  await source.handover.letGo(id)
  const free = server.world.volumes.get(volume.id)
  if (free === null) throw new Error('no volume')
  server.world.volumes.put(volume.id, { ...free, tags: { ...free.tags, 'drover:cluster': 'x'.repeat(26) } })
  await server.settled()
  await expect(target.handover.take(id)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  expect(attachedTo()).toBeNull()
})
