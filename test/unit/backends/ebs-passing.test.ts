import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, onTestFinished, test } from 'vitest'
import { EbsHandover } from '../../../src/backends/block/ebs/handover.ts'
import type { Passing } from '../../../src/backends/block/ebs/passing.ts'
import type { VolumeId } from '../../../src/domain/ids.ts'
import { type Incarnation, incarnate, newDevice } from '../../ec2/incarnation.ts'
import { fastClock, unitBytes } from '../../ec2/pool.ts'
import { beside, type Ec2Options, Ec2Server } from '../../ec2/server.ts'
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
const pass = (device: string, what: 'take' | 'giveUp' | 'letGo' | 'keep') =>
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

test.each([
  ['an attach that EC2 is at', 0],
  ['the request for one', 100],
])(
  '%s when its process dies: refused within the lag of describes, it does not come to stay here',
  async (_, slowMs) => {
    let behind = 0
    const device = await expected({ times: { attach: 100, lag: 250 }, random: () => behind })
    const [volume] = server.world.volumes.all()
    if (volume === undefined) throw new Error('no volume')
    const source = { instanceId: beside.instanceId, device: '/dev/xvdba', state: 'attached' as const }
    server.world.volumes.put(volume.id, { ...volume, state: 'in-use', attachment: source })
    await server.settled()
    server.world.volumes.put(volume.id, volume)
    behind = 1
    server.faults.add({ action: 'AttachVolume', kind: { slowMs } })
    void pass(device, 'take').catch(() => {})
    await expect.poll(() => server.calls().includes('AttachVolume'), { interval: 5 }).toBe(true)
    host.die()
    host = await incarnate({ server, directory, clock })
    await pass(device, 'giveUp')
    await server.settled()
    expect(attachment()).toBeNull()
  },
)

test('what was never asked for is given up without a call', async () => {
  const device = await expected()
  const asked = server.calls().length
  await pass(device, 'giveUp')
  expect(server.calls()).toHaveLength(asked)
})

test('what is still being detached is not taken again, however long the kernel shows it', async () => {
  const device = await expected({ times: { attach: 3_600_000 } })
  const [volume] = server.world.volumes.all()
  if (volume === undefined) throw new Error('no volume')
  server.world.stuck.add(volume.id)
  await expect(pass(device, 'take')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(attachment()).toMatchObject({ state: 'detaching' })
  await expect(pass(device, 'take')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  host.die()
  host = await incarnate({ server, directory, clock })
  await expect(pass(device, 'take')).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(server.calls().filter((action) => action === 'AttachVolume')).toHaveLength(1)
})

test('while EC2 does not answer a source is not kept from its writers: neither by what it lets go of, nor by the tag with its epoch', async () => {
  const device = await expected()
  await pass(device, 'keep')
  await host.devices.path(device)
  server.faults.add({ action: 'DescribeVolumes', kind: 'failing', times: 1_000 })
  const before = server.journal.length
  await expect(pass(device, 'letGo')).rejects.toThrow('DescribeVolumes')
  await pass(device, 'keep')
  await host.devices.noteEpoch('v'.repeat(26) as VolumeId, 3)
  // Asked again and again, less and less often, for a minute and a half in all, not for twenty.
  expect(server.calls(before).length).toBeLessThan(40)
  expect(await host.devices.attached(device)).not.toBeNull()
})

test('a volume on its way that cannot be read keeps the pool from no start, and its notes stay', async () => {
  const device = await expected()
  const place = join(directory, 'home/volumes', 'v'.repeat(26))
  await mkdir(place, { recursive: true })
  await writeFile(join(place, 'live.json'), 'not one of ours')
  await new EbsHandover(host.parts, host.devices).settle(async () => true)
  expect(await host.parts.ledger.read(device)).toMatchObject({ passing: 'arriving' })
})
