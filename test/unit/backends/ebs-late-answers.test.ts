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
