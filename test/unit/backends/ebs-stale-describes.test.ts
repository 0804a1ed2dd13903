import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { Ec2Server } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* Removals while describes tell of a moment that is over: of before the volume was there, of when it was attached still, one after the other. */

const limits = { settle: 60_000, detach: 600_000 }
const clock = fastClock(25)
const lag = 3_600_000
let server: Ec2Server
let host: Incarnation
let device: string
/** Of when describes tell, by turns; of now when there are no more. */
let told: (() => number | null)[] = []
let seen = { before: 0, free: 0, attached: 0 }

beforeEach(async () => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  told = []
  const random = () => {
    const at = told.shift()?.() ?? null
    return at === null ? 0 : (performance.now() - at) / lag
  }
  server = await Ec2Server.start({ unitBytes, times: { lag, delete: 200 }, random })
  onTestFinished(() => server.close())
  const directory = await temporaryDirectory()
  host = await incarnate({ server, directory, clock, limits })
  onTestFinished(() => host.die())
  device = newDevice()
  const before = performance.now()
  await host.devices.create(device, 8 * unitBytes)
  const free = performance.now()
  await host.devices.path(device)
  seen = { before, free, attached: performance.now() }
})

const left = () => server.world.volumes.all().filter(({ state }) => state !== 'deleting')
const now = () => null

test('EC2 refuses to delete what is in use, and an answer of before it was made does not pass for its end', async () => {
  told = [() => seen.free, () => seen.before, () => seen.before]
  await host.devices.remove(device)
  expect([left(), await host.parts.ledger.read(device)]).toEqual([[], null])
})

test('an answer to the delete is lost, and one of when it was attached comes after it: it is gone all the same', async () => {
  server.faults.add({ action: 'DeleteVolume', kind: 'lost reply' })
  const isDeleting = () => server.journal.some(({ action }) => action === 'DeleteVolume')
  const stale = () => (isDeleting() ? seen.attached : null)
  told = Array.from({ length: 8 }, () => stale)
  await host.devices.remove(device)
  expect([left(), await host.parts.ledger.read(device)]).toEqual([[], null])
})

test('what somebody has deleted meanwhile is gone, when it has once been told of as attached', async () => {
  const id = (await host.parts.ledger.read(device))?.volume?.volumeId ?? ''
  server.world.volumes.put(id, null)
  const { disks } = host.parts
  Object.assign(disks, { find: async () => null })
  told = [() => seen.attached, () => seen.attached, now]
  await host.devices.remove(device)
  expect([left(), await host.parts.ledger.read(device)]).toEqual([[], null])
})
