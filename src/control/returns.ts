import { asDroverError, hasCode } from '../domain/errors.ts'
import { isEnded, type MoveRecord } from '../domain/move.ts'
import { commandOf } from '../migrate/move-context.ts'
import type { Mover } from '../migrate/mover.ts'
import { startMove } from './moves-control.ts'
import type { ControlParts } from './parts.ts'

/** What keeps a return from beginning may pass by itself, so long after the move has ended. Hosts that are away are waited for. */
const patienceMs = 60_000

/**
 * Begins the way back of what did not become healthy: another move, one for each. That it is due was stored before the move ended;
 * that it has begun is known by the move that names it, whatever died in between.
 */
export const beginReturns = async (parts: ControlParts, mover: Mover): Promise<void> => {
  for (const move of await parts.store.moves({ returnDue: true })) {
    try {
      if (isEnded(move)) await beginReturn(parts, mover, move)
    } catch (error) {
      parts.logger.warn({ move: move.id, reason: asDroverError(error).message }, 'a return begins later')
    }
  }
}

const beginReturn = async (parts: ControlParts, mover: Mover, move: MoveRecord): Promise<void> => {
  const { store, clock } = parts
  const volume = await store.volume(move.volumeId)
  // Ids are ULIDs: their order is the order of time.
  const since = (await store.moves({ volumeId: move.volumeId })).filter(({ id }) => id > move.id)
  const begun = since.find(({ returnOf }) => returnOf === move.id)
  if (begun !== undefined) return settle(parts, move, { returnedBy: begun.id })
  const taken = volume === null || volume.ownerHostId !== move.targetHostId
  if (taken || since.some(({ state }) => state === 'done')) {
    return giveUp(parts, move, 'it was moved or removed meanwhile')
  }
  const source = await parts.hostName(move.sourceHostId)
  const { maxDowntimeMs: _budget, keepGoing: _going, ...request } = move.request
  try {
    const back = { ...request, to: source, pool: move.sourcePool, quiesce: 'stop' as const, noReturn: true }
    const { id } = await startMove(parts, mover, volume.name, back, move.id)
    await settle(parts, move, { returnedBy: id })
  } catch (error) {
    const { message, code } = asDroverError(error)
    const away = hasCode(
      error,
      'HOST_UNREACHABLE',
      'DOCKER_UNREACHABLE',
      'STORE_CONFLICT',
      'STORE_BEHIND',
      'MOVE_UNDER_WAY',
    )
    const isLate = Date.parse(move.endedAt ?? move.startedAt) + patienceMs < clock.now()
    if (away || (asDroverError(error).kind.retryable && !isLate)) throw error
    await giveUp(parts, move, `${code}: ${message}`)
  }
}

/** The row is read again: it is written to by nobody else once the move has ended. */
const settle = async ({ store, emit }: ControlParts, move: MoveRecord, change: Partial<MoveRecord>): Promise<void> => {
  const stored = await store.move(move.id)
  if (stored === null) return
  await store.updateMove({ ...stored, ...change, returnDue: false })
  await emit('move.returning', { move: move.id, volume: move.volumeName, returnedBy: change.returnedBy ?? null })
}

const giveUp = async (parts: ControlParts, move: MoveRecord, reason: string): Promise<void> => {
  parts.logger.warn({ move: move.id, reason }, 'a move that did not become healthy does not go back')
  await settle(parts, move, { warnings: [...move.warnings, `it did not go back: ${reason}`] })
  // What the target kept for the way back is of no more use; it goes with its next move at the latest.
  const target = parts.agent(await parts.hostById(move.targetHostId))
  const base = move.finalSnapshot
  if (base !== null) await target.finishTarget({ ...commandOf(move), base, forReturn: false })
}
