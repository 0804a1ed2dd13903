import type { Host } from '../domain/host.ts'
import type { HostId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent, TableUpdate } from '../migrate/agent.ts'
import type { Store } from '../state/store.ts'
import type { Fenced } from '../volumes/fence.ts'

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
        .map(({ id, name, ownerHostId, epoch, sizeBytes, labels, options, createdAt, state }) => ({
          id,
          name,
          ownerHostId,
          ownerHost: names.get(ownerHostId) ?? ownerHostId,
          epoch,
          sizeBytes,
          labels,
          options,
          createdAt,
          ...(state === 'unknown' ? { unknown: true as const } : {}),
        })),
    },
  }
}

/** Whoever answers has the table within this time; nobody waits longer for the rest. */
const patienceMs = 2_000
/** After a start. A host that answers later than that is heard all the same. */
const startPatienceMs = 3_000
/** For hosts that did not answer last time. */
const silentPatienceMs = 250

/** The pushes to one host, one after the other. */
interface Lane {
  wanted: boolean
  running: Promise<void> | null
  /** The last push was not answered. */
  silent: boolean
  /** The control role's own host. */
  readonly isOwn: boolean
}

/**
 * Pushes the table of names to every host, soon after each change and again to those that missed it. Each host has its own
 * lane: one that is down holds up neither the others nor, for long, whoever waits for the change to be known.
 */
export class Publisher {
  readonly #store: Store
  readonly #agent: (host: Host) => Agent
  readonly #logger: Logger
  readonly #clock: Clock
  readonly #lanes = new Map<HostId, Lane>()
  readonly #onFenced: (host: Host, copy: Fenced) => Promise<void>
  /** Hosts that have seen a newer store than ours. */
  readonly behindOf = new Set<string>()

  constructor(parts: {
    store: Store
    agent: (host: Host) => Agent
    logger: Logger
    clock: Clock
    onFenced?: (host: Host, copy: Fenced) => Promise<void>
  }) {
    this.#onFenced = parts.onFenced ?? (async () => {})
    this.#store = parts.store
    this.#agent = parts.agent
    this.#logger = parts.logger
    this.#clock = parts.clock
  }

  /** Soon; several wishes become one push. */
  publish(): void {
    this.#wish().catch((error) => this.#logger.warn({ error: String(error) }, 'the table could not be read'))
  }

  /** Resolves when all hosts that answer have the table as it is now, after 2 s in any case. */
  async publishNow(): Promise<void> {
    const lanes = await this.#wish()
    await Promise.all([
      this.#settle(
        lanes.filter(({ silent }) => !silent),
        patienceMs,
      ),
      this.#settle(
        lanes.filter(({ silent }) => silent),
        silentPatienceMs,
      ),
    ])
  }

  /**
   * Resolves when every host has answered or is known not to: after a start, before an old store decides anything. The other hosts are waited
   * for 3 s, this one as long as it takes.
   */
  async publishToAll(): Promise<void> {
    const lanes = await this.#wish()
    await Promise.all([
      this.#settle(lanes, startPatienceMs),
      ...lanes.flatMap((lane) => (lane.isOwn ? lane.running : [])),
    ])
  }

  async #settle(lanes: readonly Lane[], ms: number): Promise<void> {
    const enough = new AbortController()
    const late = this.#clock.sleep(ms, enough.signal).catch(() => undefined)
    await Promise.race([Promise.all(lanes.map(({ running }) => running)), late])
    enough.abort()
  }

  async #wish(): Promise<Lane[]> {
    const hosts = await this.#store.hosts()
    for (const id of this.#lanes.keys()) if (!hosts.some((host) => host.id === id)) this.#lanes.delete(id)
    return hosts.map((host) => {
      const lane = this.#lanes.get(host.id) ?? { wanted: false, running: null, silent: false, isOwn: host.control }
      this.#lanes.set(host.id, lane)
      lane.wanted = true
      lane.running ??= this.#drain(host, lane).finally(() => {
        lane.running = null
      })
      return lane
    })
  }

  async #drain(host: Host, lane: Lane): Promise<void> {
    while (lane.wanted) {
      lane.wanted = false
      lane.silent = !(await this.#push(host, lane))
    }
  }

  /** Whether it answered. */
  async #push(host: Host, lane: Lane): Promise<boolean> {
    const startedAt = this.#clock.monotonic()
    try {
      const update = await readTable(this.#store)
      const { behind, fenced } = await this.#agent(host).setTable(update)
      // A write came in between: the newer store that the host has seen may be this one, which the next push tells.
      if (behind && (await this.#store.identity()).commitSequence > update.table.sequence) lane.wanted = true
      else if (behind) this.behindOf.add(host.name)
      else this.behindOf.delete(host.name)
      for (const copy of fenced) await this.#onFenced(host, copy)
      return true
    } catch (error) {
      const ms = Math.round(this.#clock.monotonic() - startedAt)
      this.#logger.debug({ host: host.name, ms, error: String(error) }, 'table not taken; it is pushed again')
      return false
    }
  }
}
