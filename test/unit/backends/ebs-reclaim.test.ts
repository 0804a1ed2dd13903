import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import type { Volume } from '../../ec2/model.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { beside, Ec2Server, here } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* A volume that was handed over to an instance which is lost, and which an operator says is gone for good. */

const third = 'i-0bbbbbbbbbbbbbbbb'
let server: Ec2Server
let host: Incarnation
let device: string

beforeEach(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  server = await Ec2Server.start({ unitBytes })
  onTestFinished(() => server.close())
  host = await incarnate({ server, directory: await temporaryDirectory(), clock: fastClock(200) })
  device = newDevice()
  await host.devices.create(device, 8 * unitBytes)
  await host.devices.path(device)
  await pass((passing, entry) => passing.offer(entry, beside.instanceId).then(() => {}))
  await pass((passing, entry) => passing.letGo(entry))
})
afterEach(() => host.die())

const pass = (work: Parameters<typeof host.devices.pass<void>>[1]) => host.devices.pass(device, work)
const volume = (): Volume => {
  const [found] = server.world.volumes.all()
  if (found === undefined) throw new Error('no volume')
  return found
}
/** By its host, before it was lost. */
const attachTo = async (instanceId: string, more: Partial<Volume> = {}) => {
  const attachment = { instanceId, device: '/dev/xvdbz', state: 'attached' as const }
  server.world.volumes.put(volume().id, { ...volume(), state: 'in-use', attachment, ...more })
  await server.settled()
}
/** As the source does it: the owner's again, then by the operator's word. */
const reclaim = async () => {
  await pass((passing, entry) => passing.keep(entry))
  await pass((passing, entry) => passing.reclaim(entry))
}
const detaches = (since: number) =>
  server.journal
    .slice(since)
    .filter(({ action }) => action === 'DetachVolume')
    .map(({ parameters }) => [parameters.InstanceId, parameters.Force ?? 'not forced'])

test('it is detached there as ever, and by force when that does not end', async () => {
  await attachTo(beside.instanceId)
  server.world.stuck.add(volume().id)
  const before = server.journal.length
  await reclaim()
  expect(detaches(before)).toEqual([
    [beside.instanceId, 'not forced'],
    [beside.instanceId, 'true'],
  ])
  expect(volume().attachment).toMatchObject({ instanceId: here.instanceId, state: 'attached' })
})

test('what detaches is not forced', async () => {
  await attachTo(beside.instanceId)
  const before = server.journal.length
  await reclaim()
  expect(detaches(before)).toEqual([[beside.instanceId, 'not forced']])
  expect(volume().attachment?.instanceId).toBe(here.instanceId)
})

test('a terminated instance has nothing any more, as AWS says: it is attached here at once', async () => {
  await attachTo(beside.instanceId)
  server.terminate(beside.instanceId)
  await server.settled()
  const before = server.journal.length
  await reclaim()
  expect(detaches(before)).toEqual([])
  expect(volume().attachment?.instanceId).toBe(here.instanceId)
})

test('without the word nothing is detached there, least of all by force, and the error says where it is', async () => {
  await attachTo(beside.instanceId)
  await pass((passing, entry) => passing.keep(entry))
  const before = server.journal.length
  await expect(host.devices.path(device)).rejects.toMatchObject({
    code: 'VOLUME_BUSY',
    message: expect.stringContaining(beside.instanceId),
  })
  expect(detaches(before)).toEqual([])
})

test('the word is about one instance: what another one has is left there', async () => {
  server.world.instances.set(third, here.zone)
  await attachTo(third)
  const before = server.journal.length
  await expect(reclaim()).rejects.toMatchObject({ code: 'VOLUME_BUSY', message: expect.stringContaining(third) })
  expect(detaches(before)).toEqual([])
  expect(volume().attachment?.instanceId).toBe(third)
})

test.each([
  ['of another cluster', { 'drover:cluster': 'x'.repeat(26) }],
  ['of a higher epoch than this host knows of', { 'drover:epoch': '9' }],
])('what bears the tags %s is not touched', async (_, tags) => {
  await attachTo(beside.instanceId, { tags: { ...volume().tags, ...tags } })
  const before = server.journal.length
  await expect(reclaim()).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  expect(server.calls(before)).not.toContain('DetachVolume')
})

test("what became another cluster's while it was being detached is not forced", async () => {
  await attachTo(beside.instanceId)
  server.world.stuck.add(volume().id)
  const before = server.journal.length
  const reclaimed = reclaim()
  reclaimed.catch(() => {})
  await expect.poll(() => detaches(before).length, { interval: 2 }).toBe(1)
  server.world.volumes.put(volume().id, { ...volume(), tags: { ...volume().tags, 'drover:cluster': 'x'.repeat(26) } })
  await expect(reclaimed).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
  expect(detaches(before)).toEqual([[beside.instanceId, 'not forced']])
})

test('a detach that EC2 never took, for it is throttled, is no detach that hangs', async () => {
  await attachTo(beside.instanceId)
  server.faults.add({ action: 'DetachVolume', kind: 'throttled', times: 1_000 })
  const before = server.journal.length
  await expect(reclaim()).rejects.toMatchObject({ code: 'TIMED_OUT' })
  expect(detaches(before).every(([, forced]) => forced === 'not forced')).toBe(true)
})

test('a detach that hangs names instance, place and what to do', async () => {
  await host.devices.pass(device, (passing, entry) => passing.keep(entry))
  await host.devices.path(device)
  server.world.stuck.add(volume().id)
  const { device: name = '' } = volume().attachment ?? {}
  const failure = await pass((passing, entry) => passing.letGo(entry)).catch((error: Error) => error.message)
  for (const part of [here.instanceId, name, volume().id, 'stop that instance', '--target-lost']) {
    expect(failure).toContain(part)
  }
  expect(detaches(0).flat()).not.toContain('true')
})
