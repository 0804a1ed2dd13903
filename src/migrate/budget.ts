import { DroverError } from '../domain/errors.ts'
import { later } from '../lib/clock.ts'
import {
  type DowntimeModel,
  forecastAfterMs,
  isStoppedPhase,
  learnDowntime,
  ofSnapshots,
  pastMoves,
} from './forecast.ts'
import type { MoveContext } from './move-context.ts'

/** What is known now of the downtime that this move will cost. */
export const downtimeModel = async (context: MoveContext): Promise<DowntimeModel> => {
  const { move, parts } = context
  context.past ??= await pastMoves(parts.store, move.volumeId)
  const model = learnDowntime(move, context.past, move.rounds)
  return context.stream === 'snapshot' ? ofSnapshots(model) : model
}

/** What the move was allowed, and has to keep. Null: there is nothing to watch. */
export const allowedMs = ({ move: { request } }: MoveContext): number | null =>
  request.maxDowntimeMs === undefined || request.keepGoing === true ? null : request.maxDowntimeMs

/** Since the writers were told to stop; by the wall clock when the control role was started again meanwhile. */
export const stoppedForMs = (context: MoveContext): number => {
  const { parts, move, quiescedAt } = context
  if (quiescedAt !== null) return parts.clock.monotonic() - quiescedAt
  return move.quiescedAt === null ? 0 : Math.max(parts.clock.now() - Date.parse(move.quiescedAt), 0)
}

/**
 * Watches the budget while the writers are stopped: when what has passed and what is still to come are more than is allowed, the
 * move ends there and then. Between two phases that is seen at once; within one, when it takes longer than it may.
 * @returns stops watching @throws DOWNTIME_EXCEEDED
 */
export const watchBudget = async (context: MoveContext): Promise<() => void> => {
  const { move, parts } = context
  const allowed = allowedMs(context)
  const { phase } = move
  if (allowed === null || move.forecastDowntimeMs === null || !isStoppedPhase(phase) || phase === 'activate')
    return () => {}
  const model = await downtimeModel(context)
  const passed = stoppedForMs(context)
  if (phase !== 'quiesce')
    checkBudget(context, allowed, passed, model.fixedMs[phase] + forecastAfterMs(model, phase, 0))
  const afterwards = forecastAfterMs(model, phase, 0)
  const left = allowed - passed - afterwards
  return later(parts.clock, Math.max(left, 0), () => {
    context.interrupt(exceeded(context, allowed, stoppedForMs(context), afterwards))
  })
}

/** Before the delta is sent, when it is known what there is to send. @throws DOWNTIME_EXCEEDED */
export const checkDelta = async (context: MoveContext, deltaBytes: number): Promise<void> => {
  const allowed = allowedMs(context)
  if (allowed === null || context.move.forecastDowntimeMs === null) return
  const model = await downtimeModel(context)
  const left = model.fixedMs.delta + deltaBytes * model.msPerByte + forecastAfterMs(model, 'delta', 0)
  checkBudget(context, allowed, stoppedForMs(context), left, deltaBytes)
}

const checkBudget = (
  context: MoveContext,
  allowed: number,
  passed: number,
  left: number,
  deltaBytes?: number,
): void => {
  if (passed + left > allowed) throw exceeded(context, allowed, passed, left, deltaBytes)
}

const exceeded = (
  { move }: MoveContext,
  allowed: number,
  passed: number,
  left: number,
  deltaBytes?: number,
): DroverError => {
  const [passedMs, leftMs] = [Math.round(passed), Math.round(left)]
  return new DroverError(
    'DOWNTIME_EXCEEDED',
    `moving volume ${move.volumeName} has stopped its writers for ${passedMs} ms and would need about ${leftMs} ms more, ${allowed} ms are allowed; it was undone in phase ${move.phase}, raise --max-downtime or move with --keep-going`,
    {
      details: {
        passedMs,
        leftMs,
        allowedMs: allowed,
        phase: move.phase,
        ...(deltaBytes === undefined ? {} : { deltaBytes }),
      },
    },
  )
}
