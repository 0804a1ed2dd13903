import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { Ec2Server } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* Describes that tell of before, and whose answer comes when they would have told of now. */

/** Describes lag behind by less than this; deadlines are far off, also on a busy machine. */
const limits = { settle: 15_000 }
const clock = fastClock(25)
let server: Ec2Server
let directory: string
let host: Incarnation
/** Of the lag. */
let behind = 0

beforeEach(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  behind = 0
  server = await Ec2Server.start({ unitBytes, times: { lag: 250, attach: 100 }, random: () => behind })
  onTestFinished(() => server.close())
  directory = await temporaryDirectory()
  host = await incarnate({ server, directory, clock, limits })
  onTestFinished(() => host.die())
})

const made = async (): Promise<string> => {
  const device = newDevice()
  await host.devices.create(device, 8 * unitBytes)
  return device
}
const late = { lateMs: 800 }

test('of a volume: it is not taken for one that is not there, and left', async () => {
  const device = await made()
  behind = 1
  server.faults.add({ action: 'DescribeVolumes', kind: late })
  await host.devices.remove(device)
  expect(server.world.volumes.all().filter(({ state }) => state !== 'deleting')).toEqual([])
})

test('of a snapshot whose own answer was lost: it is not asked for a second time', async () => {
  const device = await made()
  behind = 1
  server.faults.add({ action: 'CreateSnapshot', kind: 'lost reply' })
  server.faults.add({ action: 'DescribeSnapshots', kind: late })
  await host.devices.seal(device)
  expect(server.calls().filter((action) => action === 'CreateSnapshot')).toHaveLength(1)
})

test('of a snapshot: it is not taken for one that is not there, and left', async () => {
  const device = await made()
  await host.devices.seal(device)
  behind = 1
  const entry = await host.parts.ledger.read(device)
  if (entry === null) throw new Error('no entry')
  // As after a crash that came right after it was asked for.
  await host.parts.ledger.write({ ...entry, snapshot: { snapshotId: null, askedAt: clock.now() - limits.settle } })
  server.faults.add({ action: 'DescribeSnapshots', kind: late })
  await host.devices.remove(device)
  expect(server.world.snapshots.all()).toEqual([])
})

test('of a volume on its way that an attach comes to: it is not given up before', async () => {
  const device = await made()
  await host.devices.expect(await host.devices.pass(device, async (_, entry) => entry), device)
  await server.settled()
  behind = 1
  server.faults.add({ action: 'AttachVolume', kind: { slowMs: 100 } })
  void host.devices.pass(device, (passing, entry) => passing.take(entry)).catch(() => {})
  await expect.poll(() => server.calls().includes('AttachVolume'), { interval: 5 }).toBe(true)
  host.die()
  host = await incarnate({ server, directory, clock, limits })
  // The first finds that nothing is there, after which EC2 is told to detach it.
  server.faults.add({ action: 'DescribeVolumes', kind: { slowMs: 0 } })
  server.faults.add({ action: 'DescribeVolumes', kind: late })
  await host.devices.pass(device, (passing, entry) => passing.giveUp(entry))
  await server.settled()
  expect(server.world.volumes.all()[0]?.attachment ?? null).toBeNull()
})

test('of a snapshot that nobody waits for any more: who held the writers for it does so no longer', async () => {
  const device = await made()
  host.die()
  host = await incarnate({ server, directory, clock, limits: { settle: 1_000 * 3_600_000 } })
  const given = new AbortController()
  server.faults.add({ action: 'CreateSnapshot', kind: 'lost reply' })
  server.faults.add({ action: 'DescribeSnapshots', kind: 'lost request', times: 10_000 })
  const clone = newDevice()
  const taken = host.devices.clone(device, clone, { toBeSealed: true, signal: given.signal })
  const asked = () => server.journal.filter(({ action }) => action === 'DescribeSnapshots').length
  await Promise.all([
    expect.poll(asked).toBeGreaterThan(0),
    expect.poll(() => server.world.snapshots.all()).toHaveLength(1),
  ])
  given.abort(new Error('cancelled'))
  await expect(taken).rejects.toThrow('cancelled')
  server.faults.clear()
  await host.devices.remove(clone)
  expect(server.world.snapshots.all()).toEqual([])
})

test('of a snapshot that EC2 throttles, and nobody waits for any more: it is not asked for again', async () => {
  const device = await made()
  const given = new AbortController()
  server.faults.add({ action: 'CreateSnapshot', kind: 'throttled', times: 10_000 })
  const taken = host.devices.clone(device, newDevice(), { toBeSealed: true, signal: given.signal })
  const asked = () => server.journal.filter(({ action }) => action === 'CreateSnapshot').length
  await expect.poll(asked).toBeGreaterThan(1)
  given.abort(new Error('cancelled'))
  await expect(taken).rejects.toThrow('cancelled')
  const before = asked()
  await clock.sleep(60_000)
  expect(asked()).toBe(before)
})

test('of a snapshot that a process asked for long after it noted that: the next one looks for it long enough', async () => {
  const device = await made()
  const { parts } = host
  const entry = await parts.ledger.read(device)
  if (entry?.volume?.volumeId == null) throw new Error('no volume')
  // Throttled for minutes, then done, and the process died before the answer.
  const request = await parts.snapshots.note(entry)
  const noted = await parts.ledger.read(device)
  if (noted?.snapshot == null) throw new Error('not noted')
  const askedAt = clock.now() - 10 * limits.settle
  await parts.ledger.write({ ...noted, snapshot: { ...noted.snapshot, askedAt } })
  const tags = server.world.volumes.get(entry.volume.volumeId)?.tags ?? {}
  behind = 1
  await parts.snapshots.ask(device, entry.volume.volumeId, { ...tags, 'drover:request': request }, {})
  host.die()
  host = await incarnate({ server, directory, clock, limits })
  await host.devices.remove(device)
  expect(server.world.snapshots.all()).toEqual([])
})
