import pLimit from 'p-limit'
import type { DatasetRecord, Epoch } from '../domain/dataset.ts'
import { asDroverError, hasCode } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { type HostId, isId, type MoveId, moveId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import { carriesContainers, isEnded, isWithinHost } from '../domain/move.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent, MoveCommand } from '../migrate/agent.ts'
import { commandOf } from '../migrate/move-context.ts'
import { isHandover } from '../migrate/move-snapshots.ts'
import type { Store } from '../state/store.ts'

const tombstoneKeptMs = 24 * 3_600_000
/** So many of the newest moves are looked at for one that an end of it has not heard the end of: hosts remember as many ended ones. */
const endsLookedAt = 16
/** Volumes of one host that are settled at once: one whose disk hangs holds up its own only. */
const atOnce = 4

/**
 * Finishes on each host what ended while that host did not answer: undo, refusal, retirement, recorded deletions. It acts only on
 * what the store has recorded; what the store does not know is left alone. Each host has its own lane: one that is slow holds up no other.
 */
export class Reconciler {
  readonly #store: Store
  readonly #agent: (host: Host) => Agent
  readonly #logger: Logger
  readonly #clock: Clock
  /** Hosts that hold the owner's copy of a volume that the store does not know of, nor of its deletion. */
  readonly #strays = new Set<HostId>()
  readonly #lanes = new Map<HostId, Promise<boolean>>()
  #dropping: Promise<void> | null = null
  /** Aborted moves whose target has answered that it refuses. */
  readonly #refused = new Set<MoveId>()
  /** Aborted moves that are known to have ended on their source, begun there or not. */
  readonly #undone = new Set<MoveId>()

  constructor(parts: { store: Store; agent: (host: Host) => Agent; logger: Logger; clock: Clock }) {
    this.#store = parts.store
    this.#agent = parts.agent
    this.#logger = parts.logger
    this.#clock = parts.clock
  }

  /** True when every host was asked by this run, answered, and has nothing left to finish. */
  async run(): Promise<boolean> {
    const hosts = await this.#store.hosts()
    for (const id of this.#strays) if (!hosts.some((host) => host.id === id)) this.#strays.delete(id)
    const answered = await Promise.all(hosts.map((host) => this.#lane(host)))
    if (!answered.every(Boolean)) return false
    this.#dropping ??= this.#dropTombstones(hosts).finally(() => {
      this.#dropping = null
    })
    await this.#dropping
    return true
  }

  get hasStrays(): boolean {
    return this.#strays.size > 0
  }

  /** What is under way has come to its end. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#lanes.values(), this.#dropping])
  }

  /** Waits for what is under way for this host: that may have looked before what is due now. */
  #lane(host: Host): Promise<boolean> {
    const running = this.#lanes.get(host.id)
    if (running !== undefined) return running.then(() => false)
    const lane = this.#host(host).finally(() => this.#lanes.delete(host.id))
    this.#lanes.set(host.id, lane)
    return lane
  }

  async #host(host: Host): Promise<boolean> {
    const agent = this.#agent(host)
    try {
      const limit = pLimit(atOnce)
      const records = await agent.holdings({})
      this.#strays.delete(host.id)
      const settled = records.map((record) =>
        limit(() => this.#try(host, record.name, () => this.#record(host, agent, record))),
      )
      // Those that the host has a record of first.
      const newest = await this.#store.moves({ limit: endsLookedAt })
      const refused = this.#unrefused(host, newest).map((move) =>
        limit(() => this.#try(host, move.volumeName, () => this.#refuse(agent, move))),
      )
      const undone = this.#unbegun(host, newest, records).map((move) =>
        limit(() => this.#try(host, move.volumeName, () => this.#forestall(host, agent, move))),
      )
      const proofs = this.#try(host, null, () => this.#proofs(agent, records))
      return (await Promise.all([...settled, ...refused, ...undone, proofs])).every(Boolean)
    } catch (error) {
      this.#logger.debug({ host: host.name, reason: asDroverError(error).message }, 'reconciled later')
      return false
    }
  }

  /** One volume that cannot be settled now must not keep the others from it. */
  async #try(host: Host, volume: string | null, work: () => Promise<void>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      const reason = asDroverError(error).message
      this.#logger.warn({ host: host.name, volume, reason }, 'an ended move is finished there later')
      return false
    }
  }

  /** A target whose disk was rolled back has no record of the move, and its engine may still have what the move made. */
  #unrefused(host: Host, newest: readonly MoveRecord[]): MoveRecord[] {
    return newest.filter(
      // One that was made anew of what the hosts know, and whose other end nobody knew, has its source at both ends.
      (move) =>
        move.state === 'aborted' &&
        move.targetHostId === host.id &&
        (move.sourceHostId !== host.id || isWithinHost(move)) &&
        !this.#refused.has(move.id),
    )
  }

  async #refuse(agent: Agent, move: MoveRecord): Promise<void> {
    try {
      await agent.refuseTarget(commandOf(move))
    } catch (error) {
      // Newer moves have been heard of there since: nothing of this one can go on.
      if (!hasCode(error, 'STALE_EPOCH', 'TOO_LATE')) throw error
    }
    this.#refused.add(move.id)
  }

  /** A source that has not heard the begin, nor the end: the begin may still come. What it is in the middle of is finished by its record. */
  #unbegun(host: Host, newest: readonly MoveRecord[], records: readonly DatasetRecord[]): MoveRecord[] {
    const isHere = (move: MoveRecord) =>
      records.some(
        ({ volumeId, hostId, pool, moveId }) =>
          volumeId === move.volumeId && hostId === host.id && pool === move.sourcePool && moveId !== move.id,
      )
    return newest.filter(
      (move) =>
        move.state === 'aborted' &&
        move.sourceHostId === host.id &&
        (move.targetHostId !== host.id || isWithinHost(move)) &&
        !this.#undone.has(move.id) &&
        isHere(move),
    )
  }

  async #forestall(host: Host, agent: Agent, move: MoveRecord): Promise<void> {
    await this.#undo(host, agent, move, 0)
    this.#undone.add(move.id)
  }

  async #undo(host: Host, agent: Agent, move: MoveRecord, epoch: Epoch): Promise<void> {
    const volume = await this.#store.volume(move.volumeId)
    const ownerEpoch = volume?.ownerHostId === host.id ? volume.epoch : epoch
    const { targetLost, finalSnapshot } = move
    const reclaim = targetLost === true && finalSnapshot !== null && isHandover(finalSnapshot)
    await agent.undoSource({ ...commandOf(move), ownerEpoch, abortStored: true, ...(reclaim ? { reclaim } : {}) })
  }

  async #record(host: Host, agent: Agent, record: DatasetRecord): Promise<void> {
    if (record.role === 'owner' && record.hostId === host.id && record.datasetUuid !== null)
      await this.#known(host, record)
    if (record.moveId === null) return this.#deleted(agent, record)
    const move = await this.#store.move(record.moveId)
    if (move === null || !isEnded(move)) return
    const command = commandOf(move)
    this.#logger.info({ host: host.name, move: move.id, role: record.role }, 'finishing an ended move on a host')
    await this.#ended(host, agent, record, move, command)
  }

  /**
   * How far content proofs of moves were is kept until their verdict is journaled. Of a move that an older store does not know, that the host
   * remembers its end; what `vol verify` was at is gone on with.
   */
  async #proofs(agent: Agent, records: readonly DatasetRecord[]): Promise<void> {
    for (const id of await keptDigestsOf(agent)) {
      if (!isId(id)) continue
      const move = await this.#store.move(moveId(id))
      const isOver = move === null ? records.some(({ endedMoves }) => endedMoves.includes(moveId(id))) : isEnded(move)
      if (isOver) await agent.endDigest({ verificationId: id })
    }
  }

  async #known(host: Host, { volumeId }: DatasetRecord): Promise<void> {
    if ((await this.#store.volume(volumeId)) !== null) return
    const stones = await this.#store.tombstones()
    if (!stones.some((stone) => stone.volumeId === volumeId)) this.#strays.add(host.id)
  }

  async #ended(host: Host, agent: Agent, record: DatasetRecord, move: MoveRecord, command: MoveCommand): Promise<void> {
    const isWithin = isWithinHost(move)
    if (move.state === 'aborted') {
      // Also where a recovered row does not know its target.
      const isSource = host.id === move.sourceHostId && (!isWithin || record.pool === move.sourcePool)
      if (!isSource) await agent.refuseTarget(command)
      if (isSource) await this.#undo(host, agent, move, record.epoch)
      return
    }
    const base = move.finalSnapshot
    const isTarget = host.id === move.targetHostId && (!isWithin || record.pool === move.targetPool)
    if (base !== null && !isTarget && record.role === 'released') {
      const keepUntil = new Date(this.#clock.now() + 24 * 3_600_000).toISOString()
      await agent.retire({ ...command, base, keepUntil, carried: carriesContainers(move) })
    }
    if (base !== null && isTarget && record.role === 'owner')
      await agent.finishTarget({ ...command, base, forReturn: move.returnDue || move.returnedBy !== null })
  }

  async #deleted(agent: Agent, record: DatasetRecord): Promise<void> {
    const stones = await this.#store.tombstones()
    // What a superseded owner holds is a person's to look at.
    if (record.role === 'diverged' || !stones.some(({ volumeId }) => volumeId === record.volumeId)) return
    await agent.removeVolume({ volumeId: record.volumeId, force: true })
  }

  /** A deletion is forgotten when no host holds anything of the volume. */
  async #dropTombstones(hosts: readonly Host[]): Promise<void> {
    for (const { volumeId, deletedAt } of await this.#store.tombstones()) {
      // A command that was late to arrive may still make what was deleted.
      if (Date.parse(deletedAt) + tombstoneKeptMs > this.#clock.now()) continue
      const holdings = await Promise.all(hosts.map((host) => this.#agent(host).holding({ volumeId })))
      if (holdings.every((holding) => holding === null)) await this.#store.dropTombstone(volumeId)
    }
  }
}

/** None of a `vold` that is older than the question. */
const keptDigestsOf = async (agent: Agent): Promise<string[]> => {
  try {
    return await agent.keptDigests({})
  } catch (error) {
    if (hasCode(error, 'NO_SUCH_ROUTE')) return []
    throw error
  }
}
