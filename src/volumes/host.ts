import type { Backend } from '../backends/backend.ts'
import type { DatasetRecord, Role } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { ClusterId, HostId, VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { type Machine, thisMachine } from '../lib/machine.ts'
import { KeyedMutex } from '../lib/mutex.ts'
import type { Catalog } from './catalog.ts'
import type { Epochs } from './epoch-ledger.ts'
import { MountLedger } from './mount-ledger.ts'
import { PoolReads } from './pool-reads.ts'
import { PutOffUnmounts } from './put-off.ts'

export interface HostIdentity {
  readonly clusterId: ClusterId
  readonly hostId: HostId
  readonly hostName: string
}

/** A volume's data on one of this host's pools. */
export interface Held {
  readonly backend: Backend
  readonly record: DatasetRecord
}

export interface HostParts {
  readonly dataDir: string
  readonly backends: readonly Backend[]
  readonly epochs: Epochs
  readonly catalog: Catalog
  readonly machine?: Machine
  readonly containerNames?: () => Promise<ReadonlyMap<string, string>>
  readonly clock: Clock
  readonly logger: Logger
  readonly identity: HostIdentity
}

const standing: Readonly<Record<Role, number>> = {
  ...{ owner: 4, sealed: 4, released: 4 },
  ...{ prepared: 3, receiving: 3, refused: 2, replica: 1, diverged: 0 },
}

const byEpoch = (one: Held, other: Held): number => other.record.epoch - one.record.epoch

/** What every part of this room works on: this host's pools, records, locks and knowledge. */
export class VolumeHost {
  readonly dataDir: string
  readonly backends: readonly Backend[]
  readonly epochs: Epochs
  readonly catalog: Catalog
  readonly mounts: MountLedger
  readonly putOff: PutOffUnmounts
  readonly machine: Machine
  /** Container names by id, from the engine; null when there is none to ask. */
  readonly containerNames: (() => Promise<ReadonlyMap<string, string>>) | null
  readonly clock: Clock
  readonly logger: Logger
  /** Held for every change of a volume's role, mounts or data on this host. */
  readonly locks: KeyedMutex<VolumeId>
  /** How records are read where several pools are. */
  readonly reads: PoolReads
  #identity: HostIdentity
  /** All of the host, where this shows one pool of it. */
  readonly #whole: VolumeHost | null

  constructor(parts: HostParts, whole: VolumeHost | null = null) {
    this.dataDir = parts.dataDir
    this.backends = parts.backends
    this.epochs = parts.epochs
    this.catalog = parts.catalog
    this.machine = parts.machine ?? thisMachine
    this.containerNames = parts.containerNames ?? null
    this.clock = parts.clock
    this.logger = parts.logger
    this.#identity = parts.identity
    this.locks = whole?.locks ?? new KeyedMutex<VolumeId>()
    this.mounts = whole?.mounts ?? new MountLedger(parts.clock)
    this.putOff = whole?.putOff ?? new PutOffUnmounts(parts.clock, parts.logger)
    this.reads = whole?.reads ?? new PoolReads(parts.clock)
    this.#whole = whole
  }

  /**
   * The host with this one of its pools, as a side of a move sees it that is about the copy there: whatever other pools hold of the
   * volume is not its business. Locks, mounts and all else are the host's.
   */
  inPool(spec: string, epochs: Epochs = this.epochs): VolumeHost {
    const whole = this.#whole ?? this
    const backends = whole.backends.filter((backend) => backend.spec.text === spec)
    const { dataDir, catalog, machine, clock, logger, identity } = whole
    const names = whole.containerNames === null ? {} : { containerNames: whole.containerNames }
    return new VolumeHost({ dataDir, backends, epochs, catalog, machine, clock, logger, identity, ...names }, whole)
  }

  get identity(): HostIdentity {
    return this.#whole?.identity ?? this.#identity
  }

  /** After a join. Records of the old cluster are rewritten by `rebind`. */
  setIdentity(identity: HostIdentity): void {
    this.#identity = identity
  }

  /** Stable and the same on every host: holds neither owner nor host. */
  mountPath(id: VolumeId): string {
    return `${this.dataDir}/mnt/${id}`
  }

  backend(spec: string): Backend {
    const found = this.backends.find((backend) => backend.spec.text === spec)
    if (found !== undefined) return found
    const here = this.backends.map((backend) => backend.spec.text).join(', ')
    throw new DroverError(
      'NO_SUCH_POOL',
      `host ${this.#identity.hostName} has no pool ${spec}; it has ${here || 'none'}`,
    )
  }

  defaultBackend(): Backend {
    const [first] = this.backends
    if (first === undefined) throw new DroverError('NO_SUCH_POOL', `host ${this.#identity.hostName} has no pool`)
    return first
  }

  /**
   * Every copy that pools here hold, read from there: the disk is the truth. First the one that counts: what may be written or could be
   * again before what is arriving, that before replicas, what was superseded last; of two the higher epoch.
   * @throws POOL_UNREACHABLE, whatever a pool throws: what one of them holds is not known then
   */
  async copies(id: VolumeId): Promise<Held[]> {
    const read = await Promise.all(this.backends.map((backend) => this.copyIn(backend, id)))
    return this.byStanding(read.filter((copy) => copy !== null))
  }

  /** One pool's alone. @throws POOL_UNREACHABLE, whatever the pool throws */
  async copyIn(backend: Backend, id: VolumeId): Promise<Held | null> {
    // The only pool there is, or the one that a move is about: nobody could do without its answer.
    const record = await (this.backends.length === 1 ? backend.readRecord(id) : this.reads.read(backend, id))
    if (record === null) return null
    this.reads.note(backend, id)
    return { backend, record }
  }

  byStanding(copies: readonly Held[]): Held[] {
    return copies.toSorted((one, other) => this.#standing(other) - this.#standing(one) || byEpoch(one, other))
  }

  /** The copy that counts. Null when no pool here holds anything of the volume. */
  async held(id: VolumeId): Promise<Held | null> {
    return (await this.copies(id))[0] ?? null
  }

  /** What other pools of this host hold of it, where this is the host with one of its pools. */
  async heldBeside(id: VolumeId): Promise<Held[]> {
    const all = (await this.#whole?.copies(id)) ?? []
    return all.filter(({ backend }) => !this.backends.includes(backend))
  }

  /** A record that is bound to another machine or pool is void here. */
  isBound({ record, backend }: Held): boolean {
    const { clusterId, hostId } = this.identity
    return record.clusterId === clusterId && record.hostId === hostId && record.pool === backend.spec.text
  }

  #standing(copy: Held): number {
    return this.isBound(copy) ? standing[copy.record.role] : -1
  }

  /** Everything with a record, over all pools. @throws POOL_UNREACHABLE: what one of them holds is not known then */
  async allHeld(): Promise<Held[]> {
    return (await Promise.all(this.backends.map((backend) => this.heldOn(backend)))).flat()
  }

  /** @throws POOL_UNREACHABLE */
  async heldOn(backend: Backend): Promise<Held[]> {
    // As `copyIn`.
    const { records } = await (this.backends.length === 1 ? backend.list() : this.reads.list(backend))
    for (const record of records) this.reads.note(backend, record.volumeId)
    return records.map((record) => ({ backend, record }))
  }

  /** @throws DATASET_MISSING */
  async mustHold(id: VolumeId): Promise<Held> {
    const held = await this.held(id)
    if (held !== null) return held
    throw new DroverError('DATASET_MISSING', `volume ${id} has no dataset on host ${this.#identity.hostName}`)
  }
}
