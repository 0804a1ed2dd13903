import type { MoveView } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { isEnded, isWithinHost } from '../domain/move.ts'
import { formatDuration, formatSize } from '../domain/units.ts'
import { type Context, segment, show } from './context.ts'
import { failureOf } from './failure.ts'
import { withPatience } from './patience.ts'
import { createProgress } from './progress.ts'
import { receipt } from './receipt.ts'

const lookMs = 200
const patienceMs = 60_000
/** What shells give a program that Ctrl-C ended. */
const interruptedExit = 130

/**
 * Shows a move until it ends, and the way back of one that is not healthy, then its summary. Ctrl-C ends the showing, not the move.
 * @throws what the move ended with
 */
export const followMove = async (context: Context, first: MoveView): Promise<number> => {
  const look = (id: string) => context.client.call<MoveView>('GET', `/v1/moves/${segment(id)}`)
  const ended = await follow(context, [first], async () => [await look(first.id)])
  if (ended === null) return interruptedExit
  const way = await followBack(context, ended[0])
  return way === null ? interruptedExit : endOf(context, way.move, way.back)
}

/** The way back of a move that is not healthy, and the next one when that was undone; null after Ctrl-C. */
const followBack = async (
  context: Context,
  first: MoveView,
): Promise<{ move: MoveView; back: MoveView | null } | null> => {
  const look = (id: string) =>
    withPatience(context.clock, patienceMs, () => context.client.call<MoveView>('GET', `/v1/moves/${segment(id)}`))
  let move = first
  for (;;) {
    const { returnedBy } = move
    if (returnedBy === null) return { move, back: null }
    if (!context.json) context.err(`vol: warning: ${move.error?.message ?? 'it is not healthy'}; it goes back`)
    const ended = await follow(context, [await look(returnedBy)], async () => [await look(returnedBy)])
    if (ended === null) return null
    const [back] = ended
    if (back.state !== 'aborted') return { move, back }
    // Whether it is tried again, or given up, is settled in a moment.
    const settled = await follow(
      context,
      [move],
      async () => [await look(move.id)],
      (now) => now.returnedBy !== back.id,
    )
    if (settled === null) return null
    move = settled[0]
  }
}

/** The same for the moves of a group; the first has the containers, and stands for all while they are shown. */
export const followGroup = async (context: Context, moves: readonly MoveView[]): Promise<number> => {
  const [lead] = moves
  if (lead === undefined) throw new DroverError('INTERNAL', 'a group of no moves was answered')
  const read = async () => {
    const all = await context.client.all<MoveView>(`/v1/moves?group=${segment(lead.id)}`)
    return [...all.filter(({ id }) => id === lead.id), ...all.filter(({ id }) => id !== lead.id)]
  }
  const ended = await follow(context, [lead, ...moves.filter(({ id }) => id !== lead.id)], read)
  if (ended === null) return interruptedExit
  const way = await followBack(context, ended[0])
  if (way === null) return interruptedExit
  throwIfFailed(context, way.move, way.back)
  for (const move of ended.slice(1)) throwIfFailed(context, move)
  show(context, ended, () => ended.map(summary))
  return 0
}

/** @returns them as they ended, or null after Ctrl-C */
const follow = async (
  context: Context,
  first: readonly [MoveView, ...MoveView[]],
  read: () => Promise<MoveView[]>,
  isOver: (move: MoveView) => boolean = () => true,
): Promise<readonly [MoveView, ...MoveView[]] | null> => {
  const progress = createProgress(context)
  const interrupt = new AbortController()
  const onInterrupt = () => interrupt.abort()
  process.once('SIGINT', onInterrupt)
  let moves = first
  try {
    progress.update(moves[0])
    while (!moves.every((move) => isEnded(move) && !move.returnDue && isOver(move))) {
      await context.clock.sleep(lookMs, interrupt.signal)
      const [lead, ...others] = await withPatience(context.clock, patienceMs, async () => {
        interrupt.signal.throwIfAborted()
        return read()
      })
      if (lead !== undefined) moves = [lead, ...others]
      progress.update(moves[0])
    }
  } catch (error) {
    progress.stop()
    const [lead] = first
    if (!interrupt.signal.aborted) throw goesOn(error, lead)
    context.err(
      `move ${lead.id} of ${lead.volumeName} goes on; follow it with: vol move-status ${lead.id} --follow; stop it with: vol cancel ${lead.id}`,
    )
    return null
  } finally {
    progress.stop()
    process.off('SIGINT', onInterrupt)
  }
  return moves
}

/** The last word on a move that has ended. `back`: the move that has taken it back, or has tried to. */
export const endOf = (context: Context, move: MoveView, back: MoveView | null = null): number => {
  throwIfFailed(context, move, back)
  show(context, move, () => summary(move))
  return 0
}

const throwIfFailed = (context: Context, move: MoveView, back: MoveView | null = null): void => {
  if (!context.json) for (const warning of move.warnings) context.err(`vol: warning: ${warning}`)
  if (move.state === 'aborted' || move.error !== null) {
    const { code, message } = move.error ?? { code: 'MOVE_FAILED' as const, message: `move ${move.id} was undone` }
    const content = move.verification == null ? {} : { verification: move.verification }
    const way = back === null ? {} : { returnedBy: back.id }
    const details = { move: move.id, state: move.state, ...content, ...way }
    throw new DroverError(code, `${message}${whereNow(move, back)}`, { details })
  }
}

const whereNow = (move: MoveView, back: MoveView | null): string => {
  if (move.error?.code !== 'NOT_HEALTHY') return ''
  if (back === null) return `; it is on host ${move.to}`
  const { state, error } = back
  if (state === 'done' && error === null) return `; it went back to host ${back.to} and runs there`
  if (state === 'done') return `; it is on host ${back.to} again: ${error?.message}`
  return `; it could not go back and is on host ${move.to} (${error?.code}: ${error?.message})`
}

export const summary = (move: MoveView): string => {
  const rounds = `${move.rounds.length} ${move.rounds.length === 1 ? 'round' : 'rounds'}`
  const downtime =
    move.downtimeMs === null ? 'no downtime: no container ran on it' : `downtime ${describeDowntime(move)}`
  const took = formatDuration(Date.parse(move.endedAt ?? move.startedAt) - Date.parse(move.startedAt))
  const content = move.verification == null ? '' : `, ${receipt(move.verification)}`
  const way = isWithinHost(move)
    ? `from ${move.sourcePool} to ${move.targetPool} on ${move.to}`
    : `from ${move.from} to ${move.to}`
  return `moved ${move.volumeName} ${way}: ${formatSize(move.totalBytes)} in ${rounds}, ${took}, ${downtime}${content}`
}

/** Measured, and as it was forecast. */
export const describeDowntime = ({ downtimeMs, forecastDowntimeMs }: MoveView): string =>
  `${formatDuration(downtimeMs ?? 0)}${forecastDowntimeMs === null ? '' : ` (forecast ${formatDuration(forecastDowntimeMs)})`}`

const goesOn = (error: unknown, move: MoveView): unknown => {
  const failure = failureOf(error)
  if (failure.exit !== 5) return error
  return new DroverError(
    'DAEMON_UNREACHABLE',
    `${failure.message}; move ${move.id} goes on or is undone by itself, see: vol move-status ${move.id}`,
    { cause: error },
  )
}
