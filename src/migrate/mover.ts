import { asDroverError, DroverError, hasCode } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'
import { isEnded, isWithinHost, type MoveRecord, phases } from '../domain/move.ts'
import { every, isoNow } from '../lib/clock.ts'
import { watchBudget } from './budget.ts'
import { membersOf } from './group/group-context.ts'
import { runGroup } from './group/group-run.ts'
import { openGroup } from './group/open-group.ts'
import { interruptible } from './interruptible.ts'
import { commandOf, eventData, journal, type MoveContext, type MoverParts } from './move-context.ts'
import { defaultMovesPerHost, MoveQueue, type Place } from './queue/move-queue.ts'
import { steps } from './steps.ts'

/** A host that is back after a restart hears of its move within this time, and within the most that a retry waits. */
const keepAliveMs = 2_000
const retryMs = { first: 200, most: 2_000 }
/** In these the source's writers are stopped, and it waits for word of the control role. */
const waitingPhases = ['quiesce', 'delta', 'verify', 'release', 'commit', 'activate', 'retire']

/** Runs moves: each phase is journaled before it acts, whatever fails before commit is undone, after it only forward. */
export class Mover {
  readonly #parts: MoverParts
  readonly #running = new Map<MoveId, { abort: AbortController; ended: Promise<void> }>()
  readonly #queue: MoveQueue
  /** Those whose target is lost for good, by an operator's word; forgotten with the process. */
  readonly #lost = new Set<MoveId>()
  #closing = false
  readonly #closed = new AbortController()

  constructor(parts: MoverParts) {
    this.#parts = parts
    this.#queue = new MoveQueue(parts.movesPerHost ?? defaultMovesPerHost)
  }

  /** Takes up every move that was under way when the control role ended, the oldest first. */
  async resume(): Promise<void> {
    for (const move of (await this.#parts.store.moves({ open: true })).toReversed()) this.start(move)
  }

  /** How many moves wait before it for a slot on its hosts; null when it does not wait. */
  queuedBehind({ id, groupId }: MoveRecord): number | null {
    return this.#queue.before(groupId ?? id)
  }

  /** One of a group starts all of it. */
  start(move: MoveRecord): void {
    const key = move.groupId ?? move.id
    if (this.#running.has(key)) return
    const abort = new AbortController()
    const ended = (move.groupId === undefined ? this.#run(move, abort) : this.#runGroup(move.groupId, abort))
      .catch((error) => {
        if (!this.#closing) this.#parts.logger.error({ move: move.id, error: String(error) }, 'move runner failed')
      })
      .finally(() => {
        this.#running.delete(key)
        this.#lost.delete(key)
        this.#parts.progress.clear(move.id)
      })
    this.#running.set(key, { abort, ended })
  }

  /** The cancel is stored already: the runner hears of it now instead of at commit. */
  cancel({ id, groupId }: MoveRecord): void {
    this.#running
      .get(groupId ?? id)
      ?.abort.abort(new DroverError('MOVE_CANCELLED', `move ${id} was cancelled; the volume stays where it was`))
  }

  /** If the target of a committed move does not answer once more, its volume goes back to the source. See take-back.ts. */
  targetIsLost(move: MoveRecord): void {
    this.#lost.add(move.id)
    this.start(move)
  }

  /** Leaves moves as they are; the next control role goes on with them. */
  async close(): Promise<void> {
    this.#closing = true
    const running = [...this.#running.values()]
    const stopping = new DroverError('CONTROL_UNREACHABLE', 'vold is stopping')
    this.#closed.abort(stopping)
    for (const { abort } of running) abort.abort(stopping)
    await Promise.race([Promise.all(running.map(({ ended }) => ended)), this.#parts.clock.sleep(2_000)])
  }

  async #run(move: MoveRecord, abort: AbortController): Promise<void> {
    const context = await this.#context(move, abort.signal, (reason) => abort.abort(reason))
    const stop = this.#keepAlive(context)
    const place = this.#queue.place([move], abort.signal)
    try {
      if (move.cancelRequested && ['open', 'verified'].includes(move.state)) {
        await this.#undo(
          context,
          new DroverError('MOVE_CANCELLED', `move ${move.id} was cancelled; the volume stays where it was`),
        )
        return
      }
      await this.#forward(context, place)
    } finally {
      place.leave()
      stop()
    }
  }

  async #runGroup(groupId: MoveId, abort: AbortController): Promise<void> {
    const failed = new AbortController()
    const group = await openGroup(this.#parts, groupId, failed, (move) =>
      this.#context(move, AbortSignal.any([abort.signal, failed.signal]), (reason) => failed.abort(reason)),
    )
    const moves = membersOf(group).map(({ move }) => move) as [MoveRecord, ...MoveRecord[]]
    const place = this.#queue.place(moves, abort.signal)
    const stops = membersOf(group).map((member) => this.#keepAlive(member))
    try {
      await runGroup(group, {
        place,
        isClosing: () => this.#closing,
        insist: (context, work) => this.#insist(context, work),
      })
    } finally {
      place.leave()
      for (const stop of stops) stop()
      for (const { id } of moves) this.#parts.progress.clear(id)
    }
  }

  async #forward(context: MoveContext, place: Place | null = null): Promise<void> {
    for (let next: MoveRecord['phase'] | null = context.move.phase; next !== null; ) {
      const committed = ['committed', 'active'].includes(context.move.state)
      if (!committed) {
        try {
          context.signal.throwIfAborted()
          await place?.enter(next, () => void this.#parts.emit('move.queued', eventData(context)))
          next = await this.#act(context, next)
        } catch (error) {
          // An old copy of the store decides nothing, neither forward nor back.
          if (this.#closing || hasCode(error, 'STORE_BEHIND')) throw error
          // A commit whose reply was lost is re-read: the row decides, not the error.
          context.move = (await this.#parts.store.move(context.move.id)) ?? context.move
          if (!['committed', 'active', 'done'].includes(context.move.state))
            return this.#undo(context, asDroverError(error))
        }
      } else {
        place?.leave()
        const phase: MoveRecord['phase'] = context.move.state === 'active' ? 'retire' : 'activate'
        Object.assign(context, context.insistent)
        next = await this.#insist(context, () => this.#act(context, phase))
      }
    }
    const done = context.move.state === 'done'
    await this.#parts.emit(
      done ? 'move.done' : 'move.aborted',
      eventData(context, { downtimeMs: context.move.downtimeMs }),
    )
  }

  async #act(context: MoveContext, phase: MoveRecord['phase']): Promise<MoveRecord['phase'] | null> {
    const startedAt = this.#parts.clock.monotonic()
    await this.#enter(context, phase)
    const stopWatching = await watchBudget(context)
    const next = await steps[phase](context).finally(stopWatching)
    // Journaled with what is journaled next, which is the next phase.
    const ms = Math.round(this.#parts.clock.monotonic() - startedAt)
    context.move = { ...context.move, phaseTimes: [...context.move.phaseTimes, { phase, ms }] }
    return next
  }

  async #enter(context: MoveContext, phase: MoveRecord['phase']): Promise<void> {
    if (context.move.phase !== phase) await journal(context, { phase })
    await this.#parts.emit('move.phase', eventData(context, { phase }))
  }

  /**
   * Before `release` was journaled the writer is put back on the spot, then the abort is stored. From then on the stored
   * abort comes first, for only it lets a released source write again.
   */
  async #undo(context: MoveContext, error: DroverError): Promise<void> {
    const { move, command } = context
    const { source, target } = context.insistent
    const { store, clock, logger } = this.#parts
    logger.warn({ move: move.id, code: error.code, reason: error.message }, 'undoing the move')
    const volume = await store.volume(move.volumeId)
    const mayHaveReleased = phases.indexOf(move.phase) >= phases.indexOf('release')
    const ownerEpoch = mayHaveReleased ? move.returnEpoch : (volume?.epoch ?? 0)
    await this.#parts.mayWrite()
    if (!mayHaveReleased) await attempt(() => source.undoSource({ ...command, ownerEpoch, abortStored: false }))
    try {
      context.move = await store.abortMove(
        move.id,
        ownerEpoch,
        { code: error.code, message: error.message },
        isoNow(clock),
      )
    } catch (stored) {
      if (!hasCode(stored, 'TOO_LATE')) throw stored
      context.move = (await store.move(move.id)) ?? move
      return this.#forward(context)
    }
    await this.#parts.emit('move.aborted', eventData(context, { code: error.code, reason: error.message }))
    // What does not answer now is taken up by the reconciler when it does, however long the other end takes.
    const tell = async (work: () => Promise<unknown>): Promise<void> => {
      const problem = await attempt(work)
      if (problem === null) return
      logger.warn({ move: move.id, reason: problem.message }, 'undo goes on when the host answers')
      this.#parts.reconcileSoon()
    }
    const undo = () => tell(() => source.undoSource({ ...command, ownerEpoch, abortStored: true }))
    const refuse = () => tell(() => target.refuseTarget(command))
    if (isWithinHost(move)) {
      // Both take the volume's lock: the writers come first.
      await undo()
      await refuse()
    } else await Promise.all([undo(), refuse()])
    this.#parts.publish()
  }

  /** After commit there is only forward: tried until it succeeds. */
  async #insist<T>(context: MoveContext, work: () => Promise<T>): Promise<T> {
    for (let waitMs = retryMs.first; ; waitMs = Math.min(waitMs * 2, retryMs.most)) {
      try {
        return await work()
      } catch (error) {
        if (this.#closing) throw error
        this.#parts.logger.warn(
          { move: context.move.id, reason: asDroverError(error).message },
          'committed move goes on later',
        )
        context.move = (await this.#parts.store.move(context.move.id)) ?? context.move
        if (isEnded(context.move)) throw error
      }
      await this.#parts.clock.sleep(waitMs)
      if (this.#closing) throw new DroverError('CONTROL_UNREACHABLE', 'vold is stopping')
    }
  }

  #keepAlive(context: MoveContext): () => void {
    return every(this.#parts.clock, keepAliveMs, () => {
      if (waitingPhases.includes(context.move.phase))
        void attempt(() => context.insistent.source.keepAlive(context.command))
    })
  }

  async #context(move: MoveRecord, signal: AbortSignal, interrupt: MoveContext['interrupt']): Promise<MoveContext> {
    const hosts = await this.#parts.hosts()
    const host = (id: string) => {
      const found = hosts.find((other) => other.id === id)
      if (found !== undefined) return found
      throw new DroverError('NO_SUCH_HOST', `host ${id} of move ${move.id} is not in the cluster`)
    }
    const sourceHost = host(move.sourceHostId)
    const targetHost = host(move.targetHostId)
    const insistent = {
      source: this.#parts.agent(sourceHost),
      target: this.#parts.agent(targetHost),
      signal: this.#closed.signal,
    }
    return {
      parts: this.#parts,
      sourceHost,
      targetHost,
      source: interruptible(insistent.source, signal),
      target: interruptible(insistent.target, signal),
      insistent,
      command: commandOf(move),
      targetIsLost: () => this.#lost.has(move.id),
      signal,
      interrupt,
      move,
      past: null,
      quiescedAt: null,
      lastShipped: null,
      stream: 'native',
      brought: null,
      refusals: 0,
    }
  }
}

/** The error, or null. Only for what somebody else takes up again. */
const attempt = async (work: () => Promise<unknown>): Promise<DroverError | null> => {
  try {
    await work()
    return null
  } catch (error) {
    return asDroverError(error)
  }
}
