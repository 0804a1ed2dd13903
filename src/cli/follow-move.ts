import type { MoveView } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { isEnded } from '../domain/move.ts'
import { formatDuration, formatSize } from '../domain/units.ts'
import { type Context, segment, show } from './context.ts'
import { failureOf } from './failure.ts'
import { withPatience } from './patience.ts'
import { createProgress } from './progress.ts'

const lookMs = 200
const patienceMs = 60_000
/** What shells give a program that Ctrl-C ended. */
const interruptedExit = 130

/** Shows a move until it ends, then its summary. Ctrl-C ends the showing, not the move. @throws what the move ended with */
export const followMove = async (context: Context, first: MoveView): Promise<number> => {
  const progress = createProgress(context)
  const interrupt = new AbortController()
  const onInterrupt = () => interrupt.abort()
  process.once('SIGINT', onInterrupt)
  let move = first
  try {
    progress.update(move)
    while (!isEnded(move)) {
      await context.clock.sleep(lookMs, interrupt.signal)
      move = await withPatience(context.clock, patienceMs, async () => {
        interrupt.signal.throwIfAborted()
        return context.client.call<MoveView>('GET', `/v1/moves/${segment(first.id)}`)
      })
      progress.update(move)
    }
  } catch (error) {
    progress.stop()
    if (!interrupt.signal.aborted) throw goesOn(error, first)
    context.err(
      `move ${first.id} of ${first.volumeName} goes on; follow it with: vol move-status ${first.id} --follow; stop it with: vol cancel ${first.id}`,
    )
    return interruptedExit
  } finally {
    progress.stop()
    process.off('SIGINT', onInterrupt)
  }
  return endOf(context, move)
}

/** The last word on a move that has ended. */
export const endOf = (context: Context, move: MoveView): number => {
  if (!context.json) for (const warning of move.warnings) context.err(`vol: warning: ${warning}`)
  if (move.state === 'aborted' || move.error !== null) {
    const { code, message } = move.error ?? { code: 'MOVE_FAILED' as const, message: `move ${move.id} was undone` }
    throw new DroverError(code, message, { details: { move: move.id, state: move.state } })
  }
  show(context, move, () => summary(move))
  return 0
}

export const summary = (move: MoveView): string => {
  const rounds = `${move.rounds.length} ${move.rounds.length === 1 ? 'round' : 'rounds'}`
  const downtime =
    move.downtimeMs === null ? 'no downtime: no container ran on it' : `downtime ${formatDuration(move.downtimeMs)}`
  const took = formatDuration(Date.parse(move.endedAt ?? move.startedAt) - Date.parse(move.startedAt))
  return `moved ${move.volumeName} from ${move.from} to ${move.to}: ${formatSize(move.totalBytes)} in ${rounds}, ${took}, ${downtime}`
}

const goesOn = (error: unknown, move: MoveView): unknown => {
  const failure = failureOf(error)
  if (failure.exit !== 5) return error
  return new DroverError(
    'DAEMON_UNREACHABLE',
    `${failure.message}; move ${move.id} goes on or is undone by itself, see: vol move-status ${move.id}`,
    { cause: error },
  )
}
