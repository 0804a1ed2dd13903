import type { Backend } from '../backends/backend.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { ClusterId, HostId, VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { type Machine, thisMachine } from '../lib/machine.ts'
import { KeyedMutex } from '../lib/mutex.ts'
import type { Catalog } from './catalog.ts'
import type { EpochLedger } from './epoch-ledger.ts'
import { MountLedger } from './mount-ledger.ts'
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

/** What every part of this room works on: this host's pools, records, locks and knowledge. */
export class VolumeHost {
  readonly dataDir: string
  readonly backends: readonly Backend[]
  readonly epochs: EpochLedger
  readonly catalog: Catalog
  readonly mounts: MountLedger
  readonly putOff: PutOffUnmounts
  readonly machine: Machine
  /** Container names by id, from the engine; null when there is none to ask. */
  readonly containerNames: (() => Promise<ReadonlyMap<string, string>>) | null
  readonly clock: Clock
  readonly logger: Logger
  /** Held for every change of a volume's role, mounts or data on this host. */
  readonly locks = new KeyedMutex<VolumeId>()
  #identity: HostIdentity
  readonly #where = new Map<VolumeId, Backend>()

  constructor(parts: {
    dataDir: string
    backends: readonly Backend[]
    epochs: EpochLedger
    catalog: Catalog
    machine?: Machine
    containerNames?: () => Promise<ReadonlyMap<string, string>>
    clock: Clock
    logger: Logger
    identity: HostIdentity
  }) {
    this.dataDir = parts.dataDir
    this.backends = parts.backends
    this.epochs = parts.epochs
    this.catalog = parts.catalog
    this.machine = parts.machine ?? thisMachine
    this.containerNames = parts.containerNames ?? null
    this.clock = parts.clock
    this.logger = parts.logger
    this.#identity = parts.identity
    this.mounts = new MountLedger(parts.clock)
    this.putOff = new PutOffUnmounts(parts.clock, parts.logger)
  }

  get identity(): HostIdentity {
    return this.#identity
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

  /** Reads the record from its pool: the disk is the truth. Null when no pool here holds anything of the volume. */
  async held(id: VolumeId): Promise<Held | null> {
    const last = this.#where.get(id)
    const order = last === undefined ? this.backends : [last, ...this.backends.filter((other) => other !== last)]
    for (const backend of order) {
      const record = await backend.readRecord(id)
      if (record === null) continue
      this.#where.set(id, backend)
      return { backend, record }
    }
    this.#where.delete(id)
    return null
  }

  /** Everything with a record, over all pools. */
  async allHeld(): Promise<Held[]> {
    const all: Held[] = []
    for (const backend of this.backends) {
      const { records } = await backend.list()
      for (const record of records) {
        this.#where.set(record.volumeId, backend)
        all.push({ backend, record })
      }
    }
    return all
  }

  /** @throws DATASET_MISSING */
  async mustHold(id: VolumeId): Promise<Held> {
    const held = await this.held(id)
    if (held !== null) return held
    throw new DroverError('DATASET_MISSING', `volume ${id} has no dataset on host ${this.#identity.hostName}`)
  }
}
