import { join } from 'node:path'
import { trustedBetween } from '../cluster/advertise.ts'
import type { Membership } from '../cluster/membership.ts'
import type { OwnIdentity } from '../cluster/own-identity.ts'
import { openTokenBook } from '../cluster/token-book.ts'
import { type ControlService, createControlService } from '../control/control-service.ts'
import { notedStore } from '../control/noted-store.ts'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { type Clock, isoNow } from '../lib/clock.ts'
import type { DaemonConfig } from '../lib/config.ts'
import { ensureDirectory } from '../lib/files.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent } from '../migrate/agent.ts'
import { openSqliteStore } from '../state/sqlite-store.ts'
import type { Store } from '../state/store.ts'

/** What other hosts are told of this one. */
export type OwnRow = Pick<Host, 'address' | 'dataAddress' | 'pools'>

export interface ControlRoleParts {
  readonly config: DaemonConfig
  readonly clock: Clock
  readonly logger: Logger
  readonly own: OwnIdentity
  readonly membership: Membership
  readonly row: OwnRow
  agentOf(host: Host): Agent
}

/** Store and service of the control role, on the host that has it; on the others there is nothing of either. */
export class ControlRole {
  readonly #parts: ControlRoleParts
  #store: Store | null = null
  #service: ControlService | null = null

  constructor(parts: ControlRoleParts) {
    this.#parts = parts
  }

  get service(): ControlService | null {
    return this.#service
  }

  /** @throws NOT_CONTROL */
  mustStore(): Store {
    if (this.#store !== null) return this.#store
    throw new DroverError('NOT_CONTROL', `host ${this.#parts.own.current.hostName} does not have the control role`)
  }

  async start(): Promise<void> {
    const { config, clock, logger, own, membership, row, agentOf } = this.#parts
    const { authority } = own
    if (authority === null) return
    const { dataDir } = config
    const tokens = openTokenBook({ dataDir, caFingerprint: authority.caFingerprint, clock })
    await ensureDirectory(join(dataDir, 'control'))
    const file = await openSqliteStore({ path: join(dataDir, 'control', 'state.db'), clock })
    const store = notedStore(file, (seen) => membership.observe(seen))
    this.#store = store
    const { hostId, hostName, fingerprint, clusterId } = own.current
    const joinedAt = (await store.hosts()).find(({ id }) => id === hostId)?.joinedAt ?? isoNow(clock)
    await store.putHost({ id: hostId, name: hostName, ...row, control: true, fingerprint, joinedAt })
    this.#service = createControlService({
      store,
      clock,
      logger,
      tokens,
      ownHostId: hostId,
      address: row.address,
      agent: agentOf,
      signing: { authority, clusterId },
      trusted: (one, other) => trustedBetween(config.trustedLinks, one.address, other.address),
      ...(config.priceFile === null ? {} : { priceFile: config.priceFile }),
      ...(config.movesPerHost === null ? {} : { movesPerHost: config.movesPerHost }),
    })
    await this.#service.start()
  }

  /** For the end of `vold`, and for a host that has joined another's cluster. */
  async stop(): Promise<void> {
    await this.#service?.close()
    this.#service = null
    await this.#store?.close()
    this.#store = null
  }
}
