import { join } from 'node:path'
import { CallBudget } from '../../src/backends/block/ebs/budget.ts'
import { connectEbs, type Ebs } from '../../src/backends/block/ebs/direct/client.ts'
import { connectEc2, type Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import type { Surroundings } from '../../src/backends/block/ebs/surroundings.ts'
import { EbsBackend } from '../../src/backends/block/ebs.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { Exec } from '../../src/lib/exec.ts'
import { instanceIdentity } from '../../src/lib/instance-metadata.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import type { Ec2Server } from './server.ts'
import { ServerDisks } from './server-disks.ts'

export const cluster = 'c'.repeat(26)
/** What the server calls a GiB, where volumes are real. */
export const unitBytes = 2 ** 20

/** A clock that goes so many times faster: waiting for the cloud need not take minutes in a test. */
export const fastClock = (times: number): Clock => ({
  now: () => systemClock.now() * times,
  monotonic: () => systemClock.monotonic() * times,
  sleep: (ms, signal) => systemClock.sleep(ms / times, signal),
})

const minute = 60_000

const clients = new WeakMap<Ec2Server, Map<string, Promise<Ec2>>>()
const directClients = new WeakMap<Ec2Server, Promise<Ebs>>()

/** One a region for all who use the server, as a new one takes longer than most tests. */
const clientOf = (server: Ec2Server) => (region: string) => {
  const regions = clients.get(server) ?? new Map<string, Promise<Ec2>>()
  clients.set(server, regions)
  const known = regions.get(region) ?? connectEc2({ region, endpoint: server.endpoint })
  regions.set(region, known)
  return known
}

const directClientOf = (server: Ec2Server) => (region: string) => {
  const known = directClients.get(server) ?? connectEbs({ region, endpoint: server.endpoint })
  directClients.set(server, known)
  return known
}

export const surroundingsOf = (
  server: Ec2Server,
  directory: string,
  clock: Clock,
  over: Partial<Surroundings> = {},
): Surroundings => ({
  ...{ home: join(directory, 'home'), disks: new ServerDisks(server), cluster: () => cluster, unitBytes },
  identity: () => instanceIdentity(server.endpoint),
  connect: clientOf(server),
  direct: { connect: directClientOf(server), endpoint: server.endpoint },
  budget: new CallBudget(clock),
  limits: {
    // A busy machine takes its time, and the clock is fast.
    ...{ settle: 60_000, create: 100 * minute, attach: 50 * minute, detach: 50 * minute },
    ...{ snapshot: 600 * minute, comparison: { running: 100 * minute, standing: 100 * minute }, silence: 100 * minute },
    ...{ modify: 300 * minute, view: 1_000 * minute, image: 10_000 * minute, put: 100 * minute },
  },
  ...over,
})

/** The SDK's own chain finds the credentials of the server's metadata, as on an instance. */
export const believeToBeOn = (server: Ec2Server): void => {
  process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT = server.endpoint
  for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) delete process.env[name]
}

export const ebsPool = (surroundings: Surroundings, exec: Exec, clock: Clock, spec = 'ebs:?size=64'): EbsBackend =>
  new EbsBackend({ spec: parsePoolSpec(spec), exec, logger: silentLogger, clock }, surroundings)
