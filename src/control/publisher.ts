import type { Host } from '../domain/host.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent, TableUpdate } from '../migrate/agent.ts'
import type { Store } from '../state/store.ts'

/** The whole table, as hosts keep it. */
export const readTable = async (store: Store): Promise<TableUpdate> => {
  const [identity, volumes, hosts] = await Promise.all([store.identity(), store.volumes(), store.hosts()])
  const names = new Map(hosts.map((host) => [host.id, host.name]))
  return {
    storeId: identity.storeId,
    hosts,
    table: {
      term: identity.term,
      sequence: identity.commitSequence,
      entries: volumes
        .filter(({ state }) => state !== 'creating')
        .map(({ id, name, ownerHostId, epoch, sizeBytes, labels, options, createdAt }) => ({
          id,
          name,
          ownerHostId,
          ownerHost: names.get(ownerHostId) ?? ownerHostId,
          epoch,
          sizeBytes,
          labels,
          options,
          createdAt,
        })),
    },
  }
}

/** Pushes the table of names to every host, soon after each change and again to those that missed it. */
export class Publisher {
  readonly #store: Store
  readonly #agent: (host: Host) => Agent
  readonly #logger: Logger
  readonly #clock: Clock
  /** Hosts that have seen a newer store than ours. */
  readonly behindOf = new Set<string>()
  #wanted = false
  #running: Promise<void> | null = null

  constructor(parts: { store: Store; agent: (host: Host) => Agent; logger: Logger; clock: Clock }) {
    this.#store = parts.store
    this.#agent = parts.agent
    this.#logger = parts.logger
    this.#clock = parts.clock
  }

  /** Soon; several wishes become one push. */
  publish(): void {
    this.#wanted = true
    this.#running ??= this.#drain().finally(() => {
      this.#running = null
    })
  }

  /** Resolves when all hosts that answer have the table as it is now. */
  async publishNow(): Promise<void> {
    this.publish()
    while (this.#running !== null) await this.#running
  }

  async #drain(): Promise<void> {
    while (this.#wanted) {
      this.#wanted = false
      const update = await readTable(this.#store)
      await Promise.all(update.hosts.map((host) => this.#push(host, update)))
    }
  }

  async #push(host: Host, update: TableUpdate): Promise<void> {
    const startedAt = this.#clock.monotonic()
    try {
      const { behind } = await this.#agent(host).setTable(update)
      if (behind) this.behindOf.add(host.name)
      else this.behindOf.delete(host.name)
    } catch (error) {
      const ms = Math.round(this.#clock.monotonic() - startedAt)
      this.#logger.debug({ host: host.name, ms, error: String(error) }, 'table not taken; it is pushed again')
    }
  }
}
