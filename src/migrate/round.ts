import { randomBytes } from 'node:crypto'
import type { SnapshotRecord } from '../domain/dataset.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { Round } from '../domain/move.ts'
import { eventData, journal, type MoveContext } from './move-context.ts'
import { moveSnapshotPrefix } from './move-snapshots.ts'

const statusWaitMs = 250

/**
 * Takes snapshot number `index` of the move and ships it: incrementally from `base` when both ends hold that. One that
 * has arrived already (a restart came between) is not sent again.
 */
export const shipRound = async (
  context: MoveContext,
  options: { index: number; base: SnapshotRecord | null; final: boolean; expectedBytes: number },
): Promise<{ snapshot: SnapshotRecord; round: Round }> => {
  const { source, target, command, parts } = context
  const name = `${moveSnapshotPrefix(command)}${options.index}`
  const sessionId = `${command.moveId}-${options.index}-${randomBytes(6).toString('hex')}`
  const plain = parts.trusted(context.sourceHost, context.targetHost)
  const ticket = randomBytes(24).toString('hex')
  // The target can make ready without the snapshot. Should that fail, undoing the move ends the session that waits there.
  const [snapshot, { dataAddress }] = await Promise.all([
    source.snapshot({ ...command, name, final: options.final }),
    target.receive({ ...command, sessionId, sourceHostId: context.sourceHost.id, plain, ticket }),
  ])
  const started = parts.clock.monotonic()
  await source.send({
    ...command,
    sessionId,
    snapshot: name,
    base: options.base?.name ?? null,
    targetHostId: context.targetHost.id,
    dataAddress,
    plain,
    ticket,
    bwlimitBytes: context.move.request.bwlimitBytes ?? null,
  })
  const bytes = await follow(context, sessionId, options.index, options.expectedBytes)
  await target.received({
    ...command,
    sessionId,
    name,
    streamUuid: snapshot.streamUuid,
    baseUuid: options.base?.streamUuid ?? null,
  })
  context.lastShipped = snapshot
  const ms = Math.round(parts.clock.monotonic() - started)
  const round: Round = { snapshot: name, base: options.base?.name ?? null, bytes, ms }
  const others = context.move.rounds.filter((other) => other.snapshot !== name)
  await journal(context, { rounds: [...others, round] })
  await parts.emit('move.round', eventData(context, { round: options.index + 1, bytes, ms, base: round.base }))
  return { snapshot, round }
}

/** Watches both ends until they have ended; a failure at one ends the other. @returns bytes sent */
const follow = async (
  context: MoveContext,
  sessionId: string,
  index: number,
  expectedBytes: number,
): Promise<number> => {
  const { source, target, command, parts } = context
  for (;;) {
    context.signal.throwIfAborted()
    const status = await source.transferStatus({ sessionId, waitMs: statusWaitMs })
    parts.progress.set(command.moveId, index + 1, status.bytes, Math.max(expectedBytes, status.bytes), status.ms)
    if (status.state === 'done') {
      await checkDigest(context, sessionId, status.digest)
      return status.bytes
    }
    if (status.state === 'failed') {
      const there = await otherEnd(() => target.transferStatus({ sessionId, waitMs: 1000 }))
      const why = [status.error, there].filter((text) => text !== null && text !== undefined).join('; on the target: ')
      if (noRoom.test(there ?? '')) throw await outOfRoom(context, status.bytes, Math.max(expectedBytes, status.bytes))
      throw new DroverError(
        'STREAM_FAILED',
        `shipping volume ${command.volumeName} from ${context.sourceHost.name} to ${context.targetHost.name} broke: ${why}`,
      )
    }
  }
}

const noRoom = /no space left on device|disk quota exceeded/i

const outOfRoom = async (
  { target, command, move, targetHost }: MoveContext,
  arrivedBytes: number,
  expectedBytes: number,
): Promise<DroverError> => {
  const pools = await target.pools({}).catch(() => [])
  const freeBytes = pools.find(({ spec }) => spec === move.targetPool)?.freeBytes ?? 0
  return new DroverError(
    'NO_SPACE',
    `no space left in pool ${move.targetPool} on host ${targetHost.name} for volume ${command.volumeName}: ${arrivedBytes} of about ${expectedBytes} bytes had been sent, ${freeBytes} are free; free some or name another pool with --pool`,
    { details: { arrivedBytes, expectedBytes, freeBytes } },
  )
}

const otherEnd = async (ask: () => Promise<{ error: string | null }>): Promise<string | null> => {
  try {
    return (await ask()).error
  } catch (error) {
    if (hasCode(error, 'STREAM_FAILED', 'HOST_UNREACHABLE')) return error.message
    throw error
  }
}

const checkDigest = async (
  { target, command }: MoveContext,
  sessionId: string,
  digest: string | null,
): Promise<void> => {
  const there = await target.transferStatus({ sessionId, waitMs: 60_000 })
  if (there.state === 'done' && there.digest === digest) return
  throw new DroverError(
    'STREAM_FAILED',
    `the stream of volume ${command.volumeName} arrived otherwise than it was sent: ${there.error ?? `digest ${there.digest} instead of ${digest}`}`,
  )
}
