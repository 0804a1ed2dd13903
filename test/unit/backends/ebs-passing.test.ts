import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import type { Passing } from '../../../src/backends/block/ebs/passing.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { type Ec2Options, Ec2Server } from '../../ec2/server.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/* A target, when what it asks of EC2 goes wrong. */

const clock = fastClock(200)
let server: Ec2Server
let directory: string
let host: Incarnation

beforeEach(() => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
})
afterEach(() => host.die())

/** A device that is expected here, whose volume nobody has. */
const expected = async (options: Ec2Options = {}): Promise<string> => {
  server = await Ec2Server.start({ unitBytes, ...options })
  onTestFinished(() => server.close())
  directory = await temporaryDirectory()
  host = await incarnate({ server, directory, clock })
  const device = newDevice()
  await host.devices.create(device, 8 * unitBytes)
  const told = await host.devices.pass(device, async (_, entry) => entry)
  await host.devices.expect(told, device)
  return device
}
const pass = (device: string, what: 'take' | 'giveUp') =>
  host.devices.pass(device, (passing: Passing, entry) => passing[what](entry))
const attachment = () => server.world.volumes.all()[0]?.attachment ?? null

test('an attach that does not end is an answer, not the silence that decides nothing; it is detached again', async () => {
  const device = await expected({ times: { attach: 3_600_000 } })
  await expect(pass(device, 'take')).rejects.toMatchObject({
    code: 'VOLUME_BUSY',
    message: expect.stringContaining('did not show'),
  })
  expect(attachment()).toBeNull()
})
