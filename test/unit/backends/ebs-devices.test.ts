import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { plantForeign } from '../../ec2/foreign.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { cluster, fastClock, unitBytes } from '../../ec2/pool.ts'
import { type Ec2Options, Ec2Server, elsewhere, here } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const clock = fastClock(200)
const gib = unitBytes
let server: Ec2Server
let directory: string
let host: Incarnation

beforeEach(() => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
})

const start = async (options: Ec2Options = {}, limits = {}) => {
  server = await Ec2Server.start({ unitBytes, ...options })
  onTestFinished(() => server.close())
  directory = await temporaryDirectory()
  host = await incarnate({ server, directory, clock, limits })
  return host.devices
}
afterEach(() => host.die())

const volumes = () => server.world.volumes.all().filter(({ state }) => state !== 'deleting')
const made = async (devices = host.devices): Promise<string> => {
  const device = newDevice()
  await devices.create(device, 8 * gib)
  return device
}

test('made with its tags, attached, found by its id, grown, sealed, shown, gone', async () => {
  const devices = await start()
  const device = await made()
  expect(volumes()).toEqual([
    expect.objectContaining({
      ...{ size: 8, type: 'gp3', zone: here.zone },
      tags: {
        ...{ 'drover:cluster': cluster, 'drover:device': device, 'drover:volume': 'v'.repeat(26) },
        'drover:epoch': '1',
      },
    }),
  ])
  expect(await devices.path(device)).toContain(volumes()[0]?.id)
  await devices.grow(device, 9 * gib)
  expect([await devices.sizeBytes(device), volumes()[0]?.size]).toEqual([9 * gib, 9])
  await expect(devices.shrink(device, gib)).rejects.toMatchObject({ code: 'BAD_SIZE' })
  await expect(devices.create(device, gib)).rejects.toThrow('nothing is made')
  const sealed = newDevice()
  await devices.clone(device, sealed, { toBeSealed: true })
  const seal = await devices.seal(sealed)
  expect(await devices.seal(sealed)).toEqual(seal)
  expect(await devices.isIntact(sealed, seal)).toBe(true)
  expect(volumes()).toHaveLength(1)
  await devices.path(sealed)
  expect(volumes()).toHaveLength(2)
  await devices.clone(sealed, newDevice())
  expect(volumes()).toHaveLength(3)
  for (const { device: each } of await host.parts.ledger.all()) await devices.remove(each)
  await devices.remove(sealed)
  expect([volumes(), server.world.snapshots.all()]).toEqual([[], []])
})

describe('a snapshot whose describes lag behind', () => {
  const sealed = async () => {
    let behind = 0
    const devices = await start({ times: { lag: 50 }, random: () => behind })
    const device = newDevice()
    await devices.clone(await made(), device, { toBeSealed: true })
    const seal = await devices.seal(device)
    // What answers from now on knows only what was a while ago: that it was in the making, or not there.
    behind = 1
    return { devices, device, seal, snapshotId: seal.proof ?? '' }
  }

  test('sealed a moment ago it is intact, whatever older answers say', async () => {
    const { devices, device, seal } = await sealed()
    expect(await devices.isIntact(device, seal)).toBe(true)
  })

  test('what is gone, or has lost its tags, is not', async () => {
    const { devices, device, seal, snapshotId } = await sealed()
    await clock.sleep(20_000)
    const { snapshots } = server.world
    const found = snapshots.get(snapshotId)
    if (found === null) throw new Error('no snapshot')
    snapshots.put(snapshotId, { ...found, tags: {} })
    await clock.sleep(20_000)
    expect(await devices.isIntact(device, seal)).toBe(false)
    snapshots.put(snapshotId, { ...found, state: 'error' })
    await clock.sleep(20_000)
    expect(await devices.isIntact(device, seal)).toBe(false)
    snapshots.put(snapshotId, null)
    await clock.sleep(20_000)
    expect(await devices.isIntact(device, seal)).toBe(false)
  })
})

test('a pool is opened also while EC2 does not answer', async () => {
  await start()
  server.faults.add({ action: 'DescribeVolumes', kind: 'lost request', times: 1_000 })
  host.die()
  host = await incarnate({ server, directory, clock })
  server.faults.clear()
  await made()
  expect(volumes()).toHaveLength(1)
})

test('an answer from before it was attached does not pass for a detach', async () => {
  let behind = 0
  const devices = await start({ times: { lag: 60, detach: 150 }, random: () => behind })
  const device = await made()
  await clock.sleep(20_000)
  await devices.path(device)
  behind = 1
  await devices.pass(device, (passing, entry) => passing.letGo(entry))
  expect(volumes()[0]?.attachment).toBeNull()
})

test('the epoch in the tags follows the record', async () => {
  const devices = await start()
  await made()
  await devices.noteEpoch('v'.repeat(26) as VolumeId, 7)
  await devices.noteEpoch('v'.repeat(26) as VolumeId, 7)
  expect(volumes()[0]?.tags['drover:epoch']).toBe('7')
  expect(server.calls().filter((action) => action === 'CreateTags')).toHaveLength(1)
})

test.each(['lost reply', 'lost request'] as const)(
  'a tag with the epoch that was not answered (%s) makes nobody a stranger to his own volume, and is set again',
  async (kind) => {
    const devices = await start()
    const device = await made()
    server.faults.add({ action: 'CreateTags', kind, times: 1_000 })
    await devices.noteEpoch('v'.repeat(26) as VolumeId, 7)
    server.faults.clear()
    await devices.path(device)
    await devices.noteEpoch('v'.repeat(26) as VolumeId, 7)
    expect(volumes()[0]?.tags['drover:epoch']).toBe('7')
    const asked = server.calls().length
    await devices.noteEpoch('v'.repeat(26) as VolumeId, 7)
    expect(server.calls()).toHaveLength(asked)
    await devices.remove(device)
    expect(volumes()).toEqual([])
  },
)

test('who owns it again after a host that was lost for good is no stranger to it; who knows of less is', async () => {
  const devices = await start()
  const device = await made()
  const [volume] = volumes()
  if (volume === undefined) throw new Error('no volume')
  server.world.volumes.put(volume.id, { ...volume, tags: { ...volume.tags, 'drover:epoch': '2' } })
  await server.settled()
  await expect(devices.path(device)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  await devices.noteEpoch('v'.repeat(26) as VolumeId, 3)
  await devices.path(device)
  expect(volumes()[0]?.tags['drover:epoch']).toBe('3')
})

describe('a lost reply', () => {
  const actions = [
    ...['CreateVolume', 'AttachVolume', 'ModifyVolume', 'CreateSnapshot', 'DetachVolume', 'DeleteVolume'],
    ...['DeleteSnapshot', 'DescribeVolumes', 'DescribeSnapshots'],
  ]
  const faults = ['lost reply', 'lost request', 'failing', 'throttled'] as const

  test.each(actions.flatMap((action) => faults.map((kind) => [kind, action] as const)))(
    '%s of %s: done once',
    async (kind, action) => {
      const devices = await start({ times: { lag: 2 } })
      server.faults.add({ action, kind, times: 2 })
      const device = await made()
      await devices.path(device)
      await devices.grow(device, 10 * gib)
      const sealed = newDevice()
      await devices.clone(device, sealed, { toBeSealed: true })
      await devices.seal(sealed)
      expect(volumes()).toHaveLength(1)
      // What EC2 broke off within may have been done or not: it shows, and is taken along in the end.
      if (kind !== 'failing') expect(server.world.snapshots.all()).toHaveLength(1)
      await devices.remove(sealed)
      await devices.remove(device)
      expect([volumes(), server.world.snapshots.all()]).toEqual([[], []])
    },
  )

  test('a process that died before it heard of its volume: the next one removes it, and makes no second', async () => {
    await start({ times: { lag: 2 } })
    const device = newDevice()
    server.faults.add({ action: 'CreateVolume', kind: 'lost reply' })
    void host.devices.create(device, gib)
    await expect.poll(() => server.calls().includes('CreateVolume')).toBe(true)
    host.die()
    host = await incarnate({ server, directory, clock })
    await host.devices.remove(device)
    expect(volumes()).toEqual([])
    expect(await host.devices.sizeBytes(device)).toBeNull()
  })
})

test('a detach that hangs ends by its deadline, with instance and device named, and is never forced', async () => {
  const devices = await start({}, { detach: 30_000 })
  const device = await made()
  await devices.path(device)
  const [volume] = volumes()
  server.world.stuck.add(volume?.id ?? '')
  const place = volumes()[0]?.attachment?.device ?? 'none'
  await expect(devices.remove(device)).rejects.toMatchObject({
    code: 'TIMED_OUT',
    message: expect.stringMatching(new RegExp(`${volume?.id}.*${here.instanceId}.*${place}`)),
  })
  expect(server.journal.some(({ parameters }) => 'Force' in parameters)).toBe(false)
  expect(await devices.sizeBytes(device)).toBe(8 * gib)
  server.world.stuck.clear()
  server.world.volumes.put(volume?.id ?? '', { ...volumes()[0], state: 'available', attachment: null } as never)
  await devices.remove(device)
  expect(volumes()).toEqual([])
})

test('what another instance has is not taken from it', async () => {
  const devices = await start()
  const device = await made()
  const [volume] = volumes()
  if (volume === undefined) throw new Error('no volume')
  const attachment = { instanceId: elsewhere.instanceId, device: '/dev/xvdba', state: 'attached' as const }
  server.world.volumes.put(volume.id, { ...volume, state: 'in-use', attachment })
  const busy = { code: 'VOLUME_BUSY', message: expect.stringContaining(elsewhere.instanceId) }
  await clock.sleep(5_000)
  await expect(devices.path(device)).rejects.toMatchObject(busy)
  await expect(devices.remove(device)).rejects.toMatchObject(busy)
  expect(server.calls()).not.toContain('DetachVolume')
})

test('notes that name something foreign: refused, and it is not touched', async () => {
  const devices = await start()
  const foreign = plantForeign(server, cluster)
  const device = await made()
  const path = join(directory, 'home/devices', `${device}.json`)
  const entry = JSON.parse(await readFile(path, 'utf8'))
  for (const id of server.world.volumes.all().map((each) => each.id)) {
    if (id === entry.volume.volumeId) continue
    await writeFile(path, JSON.stringify({ ...entry, volume: { ...entry.volume, volumeId: id } }))
    await clock.sleep(3_000)
    await expect(devices.path(device)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
    await expect(devices.grow(device, 20 * gib)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
    await expect(devices.remove(device)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  }
  expect(foreign.untouched()).toBe(true)
})

describe('calls', () => {
  test('an idle host with 100 volumes makes none; an attach makes two', async () => {
    const devices = await start()
    const device = await made()
    const before = server.journal.length
    await devices.path(device)
    const attaching = server.calls(before)
    const text = await readFile(join(directory, 'home/devices', `${device}.json`), 'utf8')
    const hundred = Array.from({ length: 100 }, newDevice)
    for (const each of hundred) {
      await writeFile(join(directory, 'home/devices', `${each}.json`), text.replaceAll(device, each))
    }
    const idle = server.journal.length
    for (const each of hundred) {
      await devices.sizeBytes(each)
      await devices.attached(each)
      await devices.isHeld(each)
      await devices.isSealed(each)
      await devices.generation(each)
    }
    await devices.usedBytes(hundred)
    await devices.space()
    console.info(`an attach: ${attaching.join(', ')}; all that is asked of 100 volumes: ${server.calls(idle).length}`)
    expect(attaching.length).toBeLessThanOrEqual(6)
    expect(server.calls(idle)).toEqual([])
  })

  test('20 attaches at once stay within what the account allows', async () => {
    // The server's bucket goes by real time, the host's budget by the fast clock.
    const devices = await start({ throttle: { burst: 30, perSecond: 4 * 200 } })
    const all = await Promise.all(Array.from({ length: 20 }, () => made()))
    const before = server.journal.length
    await Promise.all(all.map((device) => devices.path(device)))
    const attaching = server.journal.slice(before)
    const throttled = server.journal.filter(({ outcome }) => outcome === 'RequestLimitExceeded').length
    console.info(`20 attaches at once: ${attaching.length} calls, ${throttled} of all throttled`)
    expect(attaching.length).toBeLessThanOrEqual(6 * 20)
    expect(volumes().filter(({ attachment }) => attachment !== null)).toHaveLength(20)
  })

  test('a throttled account slows down, and nothing fails', async () => {
    await start({ throttle: { burst: 2, perSecond: 50 } })
    await Promise.all(Array.from({ length: 5 }, () => made()))
    expect(volumes()).toHaveLength(5)
  })
})
