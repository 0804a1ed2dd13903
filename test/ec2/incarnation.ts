import { randomUUID } from 'node:crypto'
import { mkdir } from 'node:fs/promises'
import { CallBudget } from '../../src/backends/block/ebs/budget.ts'
import { EbsDevices } from '../../src/backends/block/ebs/ebs-devices.ts'
import { EbsParts } from '../../src/backends/block/ebs/ebs-parts.ts'
import type { Entry } from '../../src/backends/block/ebs/ledger.ts'
import { parseEbsPool } from '../../src/backends/block/ebs/pool.ts'
import { parsePoolSpec } from '../../src/domain/pool.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { surroundingsOf } from './pool.ts'
import { type Ec2Server, here } from './server.ts'
import { ServerDisks } from './server-disks.ts'

/** Calls of a process that has died are never made, and answers that come after its death are never heard. */
class MortalBudget extends CallBudget {
  isDead = false

  override async take(): Promise<void> {
    await super.take()
    if (this.isDead) await new Promise(() => {})
  }

  override succeeded(): void {
    super.succeeded()
    if (this.isDead) throw new Error('nobody hears this answer')
  }
}

/** What one process has of a pool: the devices alone, without file systems. */
export interface Incarnation {
  readonly devices: EbsDevices
  readonly parts: EbsParts
  readonly budget: CallBudget
  /** Resolves when what it was writing is written: what comes after it does not find it half done. */
  die(): Promise<void>
}

interface Options {
  readonly server: Ec2Server
  readonly directory: string
  readonly clock: Clock
  readonly cluster?: string
  readonly spec?: string
  /** Default: `here`. */
  readonly identity?: typeof here
  readonly limits?: Partial<ReturnType<typeof surroundingsOf>['limits']>
}

export const incarnate = async (options: Options): Promise<Incarnation> => {
  const { server, directory, clock, cluster, limits, spec = 'ebs:', identity = here } = options
  const budget = new MortalBudget(clock)
  const directBudget = new MortalBudget(clock)
  const standard = surroundingsOf(server, directory, clock)
  const surroundings = {
    ...{
      ...standard,
      budget,
      identity: async () => identity,
      disks: new ServerDisks(server, identity.instanceId),
      limits: { ...standard.limits, ...limits },
    },
    direct: { ...standard.direct, budget: directBudget },
    ...(cluster === undefined ? {} : { cluster: () => cluster }),
  }
  await mkdir(surroundings.home, { recursive: true })
  const parts = new EbsParts(parseEbsPool(parsePoolSpec(spec)), surroundings, clock, silentLogger)
  await parts.open()
  const writing = new Set<Promise<void>>()
  const { ledger } = parts
  const mortal = (write: () => Promise<void>): Promise<void> => {
    if (budget.isDead) return new Promise(() => {})
    const one = write().finally(() => writing.delete(one))
    writing.add(one)
    return one
  }
  const [write, drop] = [ledger.write.bind(ledger), ledger.drop.bind(ledger)]
  Object.assign(ledger, {
    write: (entry: Entry) => mortal(() => write(entry)),
    drop: (device: string) => mortal(() => drop(device)),
  })
  const die = async () => {
    for (const each of [budget, directBudget]) each.isDead = true
    parts.sizing.close()
    await Promise.allSettled(writing)
  }
  return { devices: new EbsDevices(parts, async () => 1), parts, budget, die }
}

export const newDevice = (): string => `${'v'.repeat(26)}.${randomUUID()}`
