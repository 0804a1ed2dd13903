import { hasCode } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import type { InstanceIdentity } from '../../../lib/instance-metadata.ts'
import type { Logger } from '../../../lib/logger.ts'
import { Attachments } from './attachments.ts'
import { CallBudget } from './budget.ts'
import { Calls, UnansweredCall } from './calls.ts'
import { Cloud, type CloudSnapshot, type CloudVolume } from './cloud.ts'
import { DirectAccess } from './direct/access.ts'
import { DirectBlocks } from './direct/blocks.ts'
import { directBudget } from './direct/budget.ts'
import type { Ebs } from './direct/client.ts'
import { DirectWrites } from './direct/writes.ts'
import type { AttachedDisks } from './kernel-disks.ts'
import { Ledger } from './ledger.ts'
import type { EbsPool } from './pool.ts'
import { SizingRequests } from './sizing-requests.ts'
import { CloudSnapshots } from './snapshots.ts'
import type { Surroundings } from './surroundings.ts'
import { tag } from './tags.ts'
import { Volumes } from './volumes.ts'
import { Watch } from './watch.ts'

/** So long a start waits for EC2. */
const openMs = 20_000

/** What EBS devices are made of, put together. */
export class EbsParts {
  readonly pool: EbsPool
  readonly surroundings: Surroundings
  readonly clock: Clock
  readonly logger: Logger
  readonly cloud: Cloud
  readonly ledger: Ledger
  readonly disks: AttachedDisks
  readonly volumes: Volumes
  readonly snapshots: CloudSnapshots
  readonly attachments: Attachments
  readonly sizing: SizingRequests
  /** Another region's snapshots, to look at them. */
  readonly snapshotsIn: (region: string) => CloudSnapshots
  readonly direct: { readonly blocks: DirectBlocks; readonly access: DirectAccess; readonly writes: DirectWrites }
  #identity: Promise<InstanceIdentity> | null = null

  constructor(pool: EbsPool, surroundings: Surroundings, clock: Clock, logger: Logger) {
    const { home, limits, disks, connect, cluster, direct } = surroundings
    this.pool = pool
    this.surroundings = surroundings
    this.clock = clock
    this.logger = logger
    this.ledger = new Ledger(home)
    this.disks = disks
    this.sizing = new SizingRequests(home, clock)
    const calls = new Calls(clock, surroundings.budget ?? new CallBudget(clock), logger)
    this.cloud = new Cloud(async () => connect((await this.identity()).region), calls)
    const { cloud, ledger } = this
    let ebs: Promise<Ebs> | null = null
    const connectOnce = async () => {
      const { region } = await this.identity()
      ebs ??= direct.connect(region).catch((error: unknown) => {
        ebs = null
        throw error
      })
      return ebs
    }
    disks.useNames?.({
      ask: async () => cloud.namesOf((await this.identity()).instanceId, openMs),
      ...{ clock, settleMs: limits.settle },
    })
    const directCalls = new Calls(clock, direct.budget ?? directBudget(clock), logger)
    const blocks = new DirectBlocks(connectOnce, directCalls, limits.silence)
    this.direct = {
      blocks,
      access: new DirectAccess(blocks, clock, logger, pool.isDirect),
      writes: new DirectWrites({
        ...{ connect: connectOnce, calls: directCalls, clock, lists: blocks.lists, unansweredMs: limits.silence },
      }),
    }
    const watch = new Watch<CloudVolume>((ids) => cloud.volumes(ids), clock)
    const snapshotWatch = new Watch<CloudSnapshot>((ids) => cloud.snapshots(ids), clock)
    this.volumes = new Volumes({ cloud, watch, ledger, clock, limits, cluster, spec: pool.spec })
    this.snapshots = new CloudSnapshots({ cloud, watch: snapshotWatch, ledger, clock, limits, cluster })
    const abroad = new Map<string, CloudSnapshots>()
    this.snapshotsIn = (region) => {
      const known = abroad.get(region)
      if (known !== undefined) return known
      const other = new Cloud(() => connect(region), calls)
      const otherWatch = new Watch<CloudSnapshot>((ids) => other.snapshots(ids), clock)
      const made = new CloudSnapshots({ cloud: other, watch: otherWatch, ledger, clock, limits, cluster })
      abroad.set(region, made)
      return made
    }
    this.attachments = new Attachments({
      ...{ cloud, watch, disks, clock, limits, instanceId: async () => (await this.identity()).instanceId },
      mustOwn: (volumeId, device, timeoutMs) => this.volumes.mustOwn(volumeId, device, timeoutMs),
    })
  }

  /** Asked once, when it is needed first. */
  readonly identity = (): Promise<InstanceIdentity> => {
    this.#identity ??= this.surroundings.identity().catch((error: unknown) => {
      this.#identity = null
      throw error
    })
    return this.#identity
  }

  /** @throws BAD_CONFIG, NOT_PERMITTED */
  async open(): Promise<void> {
    await this.identity()
    await this.ledger.open()
    await this.sizing.open()
    try {
      // One call, so that a role that may not ask is told now.
      await this.cloud.volumesTagged(tag.cluster, this.surroundings.cluster(), openMs)
    } catch (error) {
      // What is attached here is here without EC2's word: writers need not wait for it.
      if (!(error instanceof UnansweredCall) && !hasCode(error, 'TIMED_OUT')) throw error
      this.logger.warn({ err: error }, 'EC2 does not answer; the pool is opened without it')
    }
  }
}
