import { open } from 'node:fs/promises'
import { onTestFinished } from 'vitest'
import { CallBudget } from '../../src/backends/block/ebs/budget.ts'
import { Calls } from '../../src/backends/block/ebs/calls.ts'
import { DirectBlocks } from '../../src/backends/block/ebs/direct/blocks.ts'
import { connectEbs } from '../../src/backends/block/ebs/direct/client.ts'
import type { Limits } from '../../src/backends/block/ebs/surroundings.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { fileDisks } from './file-disks.ts'
import { incarnate, newDevice } from './incarnation.ts'
import { fastClock, unitBytes } from './pool.ts'
import { type Ec2Options, Ec2Server, here } from './server.ts'

export const clock = fastClock(200)
export const sizeBytes = 64 * unitBytes

/** A device that is a volume of 128 blocks whose bytes are a file, on a server of its own, until the test ends. */
export const directBench = async (options: Ec2Options = {}, limits: Partial<Limits> = {}) => {
  process.env.AWS_ACCESS_KEY_ID = 'AKIATEST'
  process.env.AWS_SECRET_ACCESS_KEY = 'secret'
  const directory = await temporaryDirectory()
  const disks = fileDisks(directory)
  const server = await Ec2Server.start({ unitBytes, disks, ...options })
  onTestFinished(() => server.close())
  let host = await incarnate({ server, directory, clock, limits })
  onTestFinished(() => host.die())
  const live = newDevice()
  await host.devices.create(live, sizeBytes)

  const write = async (at: number, bytes: Buffer) => {
    const volumeId = (await host.parts.ledger.read(live))?.volume?.volumeId ?? ''
    const file = await open(disks.path(volumeId), 'r+')
    await file.write(bytes, 0, bytes.length, at).finally(() => file.close())
  }
  /** The device, sealed, and its id in EC2. */
  const snapshot = async () => {
    const device = newDevice()
    await host.devices.clone(live, device, { toBeSealed: true })
    const { proof } = await host.devices.seal(device)
    return { device, id: proof ?? '' }
  }
  const blocksOf = async (unansweredMs = 600_000) => {
    const client = await connectEbs({ region: here.region, endpoint: server.endpoint })
    return new DirectBlocks(async () => client, new Calls(clock, new CallBudget(clock), silentLogger), unansweredMs)
  }
  return {
    ...{ directory, disks, server, live, write, snapshot, blocksOf },
    host: () => host,
    /** The process dies, and another one has the pool. */
    again: async () => {
      host.die()
      host = await incarnate({ server, directory, clock, limits })
    },
    gets: () => server.journal.filter(({ action }) => action === 'GetSnapshotBlock').length,
    /** Ids of the snapshots that there are. */
    left: () => server.world.snapshots.all().map(({ id }) => id),
  }
}
