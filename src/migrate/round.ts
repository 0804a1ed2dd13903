import type { SnapshotRecord } from '../domain/dataset.ts'
import { hasCode } from '../domain/errors.ts'
import type { Round } from '../domain/move.ts'
import { eventData, journal, type MoveContext } from './move-context.ts'
import { moveSnapshotPrefix } from './move-snapshots.ts'
import { openSession, type Shipment, ship } from './shipping.ts'
import { whilePending } from './while-pending.ts'

/**
 * Takes snapshot number `index` of the move and ships it: incrementally from `base` when both ends hold that. One that
 * has arrived already (a restart came between) is not sent again.
 */
export const shipRound = async (
  context: MoveContext,
  options: Omit<Shipment, 'name'>,
): Promise<{ snapshot: SnapshotRecord; round: Round }> => {
  const { command, parts } = context
  const { index, base } = options
  const name = `${moveSnapshotPrefix(command)}${index}`
  const [snapshot, opened] = await beginRound(context, options, name)
  const started = parts.clock.monotonic()
  const { bytes, wireBytes, resentBytes, reconnects } = await ship(context, { ...options, name }, snapshot, opened)
  context.lastShipped = snapshot
  const ms = Math.round(parts.clock.monotonic() - started)
  const round: Round = { snapshot: name, base: base?.name ?? null, bytes, ms, wireBytes, resentBytes, reconnects }
  const others = context.move.rounds.filter((other) => other.snapshot !== name)
  await journal(context, { rounds: [...others, round] })
  const more = reconnects === 0 ? {} : { reconnects, resentBytes }
  await parts.emit('move.round', eventData(context, { round: index + 1, bytes, ms, base: round.base, ...more }))
  return { snapshot, round }
}

/** A target gives a session up to which nobody has come for half a minute. */
const sessionKeptMs = 15_000

const beginRound = async (context: MoveContext, options: Omit<Shipment, 'name'>, name: string) => {
  const { source, target, command, parts } = context
  const { final, base } = options
  const files = context.stream === 'tree' ? { files: { base: base?.name ?? null } } : {}
  const take = () => whilePending(context, final, () => source.snapshot({ ...command, name, final, ...files }))
  // Nothing has to be made ready where only names are sent.
  if (context.stream === 'snapshot') return [await take(), await openSession(context, options)] as const
  const begunAt = parts.clock.monotonic()
  // The target can make ready without the snapshot. Should that fail, undoing the move ends the session that waits there.
  const [snapshot, opened] = await Promise.all([take(), openSession(context, options)])
  if (parts.clock.monotonic() - begunAt <= sessionKeptMs) return [snapshot, opened] as const
  // A cloud has taken longer to end it than a session may be relied upon to wait. Whether it still does matters to nobody: it is not gone on with.
  await target.abortTransfer({ sessionId: opened.sessionId }).catch((error: unknown) => {
    if (!hasCode(error, 'HOST_UNREACHABLE')) throw error
  })
  return [snapshot, null] as const
}
