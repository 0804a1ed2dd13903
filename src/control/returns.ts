import { asDroverError, DroverError, type ErrorCode } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import { isEnded, type MoveRecord } from '../domain/move.ts'
import { commandOf } from '../migrate/move-context.ts'
import type { Mover } from '../migrate/mover.ts'
import { startMembers } from './group-moves.ts'
import { startMove } from './moves-control.ts'
import type { ControlParts } from './parts.ts'

/** What keeps a return from its end may pass by itself, so often after it has begun and so long before it has. */
const tries = 5
const patienceMs = 60_000
/** Doubled with each try. */
const firstWaitMs = 5_000
const longestWaitMs = 60_000
/** So many of the newest moves are looked at for ways back that were undone. */
const lookedAt = 64

/** Somebody is away, or something else is under way: waited for as long as it takes. */
const passing: readonly ErrorCode[] = [
  'HOST_UNREACHABLE',
  'DOCKER_UNREACHABLE',
  'CONTROL_UNREACHABLE',
  'STORE_CONFLICT',
  'STORE_BEHIND',
  'MOVE_UNDER_WAY',
]

/**
 * The way back of what did not become healthy: another move, or for a group another group. That it is due was stored before the move
 * ended; that it has begun is known by the move that names it, whatever died in between. A way back that is undone is tried again while
 * its reason is one that passes.
 */
export class Returns {
  readonly #parts: ControlParts
  readonly #mover: () => Mover
  readonly #waits = new Map<MoveId, { ms: number; until: number }>()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: ControlParts, mover: () => Mover) {
    this.#parts = parts
    this.#mover = mover
  }

  /** Begins those that are due, one after the other, so that none begins twice. Never rejects. */
  run(): Promise<void> {
    this.#running = this.#running
      .then(() => this.#all())
      .catch((error) => this.#parts.logger.warn({ error: String(error) }, 'returns begin later'))
    return this.#running
  }

  async #all(): Promise<void> {
    const { store, logger } = this.#parts
    const newest = await store.moves({ limit: lookedAt })
    for (const back of newest.filter(({ state, returnOf }) => state === 'aborted' && returnOf !== null)) {
      await this.#undone(back)
    }
    for (const move of await store.moves({ returnDue: true })) {
      try {
        if (isEnded(move) && (this.#waits.get(move.id)?.until ?? 0) <= this.#parts.clock.monotonic()) {
          await this.#begin(move)
        }
      } catch (error) {
        this.#wait(move.id)
        logger.warn({ move: move.id, reason: asDroverError(error).message }, 'a return begins later')
      }
    }
  }

  /** A way back that came to nothing: due again, or given up for a person to see to. */
  async #undone(back: MoveRecord): Promise<void> {
    const { store, logger } = this.#parts
    const move = back.returnOf === null ? null : await store.move(back.returnOf)
    if (move === null || move.returnedBy !== back.id || move.returnDue) return
    const { code, message } = back.error ?? { code: 'MOVE_FAILED' as const, message: 'it was undone' }
    // Of a group the one that has the containers stands for all.
    if (move.groupId !== undefined && move.groupId !== move.id) return
    const { length } = (await store.moves({ volumeId: move.volumeId })).filter(({ returnOf }) => returnOf === move.id)
    const isPassing = passing.includes(code) || (new DroverError(code, message).kind.retryable && length < tries)
    if (!isPassing) return this.#giveUp(move, `${code}: ${message}`)
    this.#wait(move.id)
    logger.warn({ move: move.id, back: back.id, reason: message }, 'a return was undone; it is tried again')
    await store.updateMove({ ...move, returnDue: true })
  }

  async #begin(move: MoveRecord): Promise<void> {
    const { store, clock } = this.#parts
    const members = move.groupId === undefined ? [move] : await this.#groupOf(move)
    const back = await this.#under(move)
    if (back !== undefined) return this.#settle(members, back)
    for (const member of members) {
      const volume = await store.volume(member.volumeId)
      const taken = volume === null || volume.ownerHostId !== member.targetHostId
      if (!taken && !(await this.#since(member)).some(({ state }) => state === 'done')) continue
      return this.#giveUp(move, `volume ${member.volumeName} was moved or removed meanwhile`)
    }
    try {
      await this.#settle(members, await this.#start(move, members))
      this.#waits.delete(move.id)
    } catch (error) {
      const { message, code, kind } = asDroverError(error)
      const isLate = Date.parse(move.endedAt ?? move.startedAt) + patienceMs < clock.now()
      // Where an earlier way back is still being cleared away, the next one comes too early.
      const isEarly = code === 'STALE_EPOCH' && move.returnedBy !== null
      if (passing.includes(code) || ((kind.retryable || isEarly) && !isLate)) throw error
      await this.#giveUp(move, `${code}: ${message}`)
    }
  }

  async #start(move: MoveRecord, members: readonly MoveRecord[]): Promise<MoveRecord> {
    const requests = members.map((member) => this.#wayBack(member))
    const [first, ...others] = await Promise.all(requests)
    if (first === undefined) throw new DroverError('INTERNAL', `move ${move.id} has nothing to go back`)
    if (move.groupId === undefined) {
      return startMove(this.#parts, this.#mover(), first.name, first.request, move.id)
    }
    const [lead] = await startMembers(this.#parts, this.#mover(), [first, ...others])
    return lead
  }

  async #wayBack(member: MoveRecord) {
    const { store, hostName } = this.#parts
    const { maxDowntimeMs: _budget, keepGoing: _going, ...request } = member.request
    const to = await hostName(member.sourceHostId)
    const name = (await store.volume(member.volumeId))?.name ?? member.volumeName
    const back = { ...request, to, pool: member.sourcePool, quiesce: 'stop' as const, noReturn: true }
    return { name, request: back, returnOf: member.id }
  }

  /** The members that came to the target, the one with the containers first. */
  async #groupOf(lead: MoveRecord): Promise<MoveRecord[]> {
    const all = await this.#parts.store.moves({ groupId: lead.id })
    return [lead, ...all.filter(({ id, state }) => id !== lead.id && state === 'done').toReversed()]
  }

  /** The way back that has begun and was not undone. */
  async #under(move: MoveRecord): Promise<MoveRecord | undefined> {
    return (await this.#since(move)).find(({ returnOf, state }) => returnOf === move.id && state !== 'aborted')
  }

  /** Ids are ULIDs: their order is the order of time. */
  async #since({ id, volumeId }: MoveRecord): Promise<MoveRecord[]> {
    return (await this.#parts.store.moves({ volumeId })).filter((other) => other.id > id)
  }

  /** Of a group each row names the one that takes it back. */
  async #settle(members: readonly MoveRecord[], back: MoveRecord): Promise<void> {
    const { store, emit } = this.#parts
    const backs = back.groupId === undefined ? [back] : await store.moves({ groupId: back.groupId })
    for (const { id, volumeName } of members.toReversed()) {
      const returnedBy = backs.find(({ returnOf }) => returnOf === id)?.id ?? null
      await this.#change(id, { returnedBy, returnDue: false })
      await emit('move.returning', { move: id, volume: volumeName, returnedBy })
    }
  }

  /** The row is read again: it is written to by nobody else once the move has ended. */
  async #change(id: MoveId, change: Partial<MoveRecord>): Promise<void> {
    const stored = await this.#parts.store.move(id)
    if (stored !== null) await this.#parts.store.updateMove({ ...stored, ...change })
  }

  #wait(id: MoveId): void {
    const last = this.#waits.get(id)?.ms
    const ms = last === undefined ? firstWaitMs : Math.min(last * 2, longestWaitMs)
    this.#waits.set(id, { ms, until: this.#parts.clock.monotonic() + ms })
  }

  async #giveUp(move: MoveRecord, reason: string): Promise<void> {
    const { logger, agent, hostById, hostName, emit } = this.#parts
    const [there, home] = await Promise.all([hostName(move.targetHostId), hostName(move.sourceHostId)])
    const what = move.groupId === undefined ? `volume ${move.volumeName}` : `the group of volume ${move.volumeName}`
    const line = `${what} did not go back: ${reason}; it is on host ${there}: see to the container there, or run vol move --to ${home}`
    this.#waits.delete(move.id)
    logger.error({ move: move.id, reason }, line)
    await this.#change(move.id, { returnedBy: null, returnDue: false, warnings: [...move.warnings, line] })
    await emit('move.not-returned', { move: move.id, volume: move.volumeName, reason })
    // What the target kept for the way back is of no more use; it goes with its next move, or by vol doctor, at the latest.
    const base = move.finalSnapshot
    if (base === null) return
    const target = agent(await hostById(move.targetHostId))
    await target.finishTarget({ ...commandOf(move), base, forReturn: false })
  }
}
