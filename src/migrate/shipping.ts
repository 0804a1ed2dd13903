import { randomBytes } from 'node:crypto'
import type { SnapshotRecord } from '../domain/dataset.ts'
import { asDroverError, DroverError, hasCode } from '../domain/errors.ts'
import type { TransferStatus } from './agent.ts'
import { eventData, type MoveContext } from './move-context.ts'
import { baseIdentityFor, identityFor, type StreamKind } from './stream-kind.ts'
import { whilePending } from './while-pending.ts'

/** A snapshot on its way to the target. */
export interface Shipment {
  readonly index: number
  readonly name: string
  readonly base: SnapshotRecord | null
  /** The writers are stopped meanwhile. */
  readonly final: boolean
  readonly expectedBytes: number
}

const statusWaitMs = 250
const retryPauseMs = 500
/**
 * So long a stream may be without a link before it is given up. While writers are stopped that is less than the time after which a
 * source that hears nothing unseals itself.
 */
const patienceMs = (final: boolean): number => (final ? 20_000 : 60_000)
/** A stream that could not go on is sent anew after each of these. */
const pausesMs = (final: boolean): readonly number[] => (final ? [1_000] : [1_000, 2_000, 4_000, 8_000, 16_000])

/** Before what went on in the last of these, and failed, is sent whole. */
const anewPauseMs = 1_000

/** A session that waits on the target for its sender. */
interface Opened {
  readonly sessionId: string
  readonly dataAddress: string
  readonly streamVersion: number
  readonly plain: boolean
  readonly ticket: string
  readonly resumeToken?: string
}

/** @param resumes of a snapshot that was on its way already: what of it has arrived may stay */
export const openSession = async (
  context: MoveContext,
  { index, final, base }: Omit<Shipment, 'name'>,
  resumes: SnapshotRecord | null = null,
): Promise<Opened> => {
  const { target, command, parts, stream } = context
  const sessionId = `${command.moveId}-${index}-${randomBytes(6).toString('hex')}`
  // What is packed goes through our processes, and through TLS with them.
  const plain = parts.trusted(context.sourceHost, context.targetHost) && context.move.request.compress !== 'zstd'
  const ticket = randomBytes(24).toString('hex')
  const { dataAddress, streamVersion, resumeToken } = await target.receive({
    ...{ ...command, sessionId, sourceHostId: context.sourceHost.id, plain, ticket },
    stream,
    baseUuid: baseIdentityFor(stream, base),
    ...(resumes === null ? {} : { resumes: identityFor(stream, resumes) }),
    patienceMs: patienceMs(final),
  })
  const opened = { sessionId, dataAddress, streamVersion, plain, ticket }
  return resumeToken === undefined ? opened : { ...opened, resumeToken }
}

/**
 * Sends the snapshot, which is taken already, into an opened session (null: one is to be opened); into another and from the same base, when that one could not go on. The
 * target goes on with what had arrived, where its pool can, or clears it before it receives again; nothing of it has been recorded. What went
 * on and failed once more is begun anew: it may be what arrived that it fails for.
 */
export const ship = async (
  context: MoveContext,
  shipment: Shipment,
  snapshot: SnapshotRecord,
  first: Opened | null,
): Promise<TransferStatus> => {
  const { parts, signal } = context
  const startedAt = parts.clock.monotonic()
  let opened: Opened | null = first
  let wasResumed = false
  // What a session that is gone on with has sent; of the last one that failed, and of the one that runs.
  let sent = nothing
  let kept = nothing
  for (const pauses = [...pausesMs(shipment.final)]; ; ) {
    try {
      const resumes = wasResumed ? null : snapshot
      wasResumed = false
      opened ??= await openSession(context, shipment, resumes)
      wasResumed = opened.resumeToken !== undefined
      kept = wasResumed ? sent : nothing
      const status = await shipOnce(context, shipment, snapshot, opened, kept.bytes)
      return { ...status, bytes: kept.bytes + status.bytes, wireBytes: kept.wireBytes + status.wireBytes }
    } catch (error) {
      const retryable =
        error instanceof Retryable || wasResumed || (opened === null && hasCode(error, 'HOST_UNREACHABLE'))
      const late = shipment.final && parts.clock.monotonic() - startedAt > patienceMs(true)
      signal.throwIfAborted()
      const failure = error instanceof Retryable ? error.failure : error
      // With no try left still: the sender's pool may be one that cannot go on.
      const pauseMs = pauses.shift() ?? (wasResumed ? anewPauseMs : null)
      if (opened !== null) sent = error instanceof Retryable ? sum(kept, error.sent) : nothing
      if (!retryable || late || pauseMs === null) throw failure
      await parts.emit('move.stream-again', eventData(context, { reason: asDroverError(failure).message }))
      opened = null
      await parts.clock.sleep(pauseMs, signal)
    }
  }
}

/** Another try may do better. */
class Retryable extends Error {
  readonly failure: DroverError
  readonly sent: Counts

  constructor(failure: DroverError, sent: Counts) {
    super(failure.message)
    this.failure = failure
    this.sent = sent
  }
}

/** Of a stream, and of what went over the link for it. */
type Counts = Pick<TransferStatus, 'bytes' | 'wireBytes'>

const nothing: Counts = { bytes: 0, wireBytes: 0 }
const sum = (one: Counts, other: Counts): Counts => ({
  bytes: one.bytes + other.bytes,
  wireBytes: one.wireBytes + other.wireBytes,
})

/** A process that died has not told what it packed. */
const countsOf = ({ bytes, wireBytes }: TransferStatus): Counts => ({
  bytes,
  wireBytes: wireBytes > 0 ? wireBytes : bytes,
})

const shipOnce = async (
  context: MoveContext,
  shipment: Shipment,
  snapshot: SnapshotRecord,
  { sessionId, dataAddress, streamVersion, plain, ticket, resumeToken }: Opened,
  keptBytes: number,
): Promise<TransferStatus> => {
  const { source, target, command, move, stream } = context
  const { final, name, base } = shipment
  const order = {
    stream,
    ...{ ...command, sessionId, snapshot: name, base: base?.name ?? null, targetHostId: context.targetHost.id },
    ...(resumeToken === undefined ? {} : { resumeToken }),
    ...{ dataAddress, streamVersion, plain, ticket, bwlimitBytes: move.request.bwlimitBytes ?? null },
    ...{ compress: move.request.compress ?? 'none', patienceMs: patienceMs(final) },
  }
  await patiently(context, final, () => source.send(order))
  const status = await follow(context, sessionId, shipment, keptBytes)
  await checkDigest(context, sessionId, status.digest, final)
  const received = {
    ...{ sessionId, name, stream, streamUuid: identityFor(stream, snapshot) },
    baseUuid: baseIdentityFor(stream, base),
  }
  await whilePending(context, final, () =>
    patiently(context, final, () => target.received({ ...command, ...received })),
  )
  return status
}

/** The link to a host may be cut as the stream's is, and come back as it does. */
const patiently = async <T>(context: MoveContext, final: boolean, ask: () => Promise<T>): Promise<T> => {
  const { clock } = context.parts
  const startedAt = clock.monotonic()
  for (;;) {
    context.signal.throwIfAborted()
    try {
      return await ask()
    } catch (error) {
      if (!hasCode(error, 'HOST_UNREACHABLE') || clock.monotonic() - startedAt > patienceMs(final)) throw error
    }
    await clock.sleep(retryPauseMs, context.signal)
  }
}

/** The status of one end. A cancel does not wait for the answer: nothing is changed by asking. */
const statusOf = (
  context: MoveContext,
  end: 'source' | 'target',
  final: boolean,
  sessionId: string,
  waitMs: number,
) => {
  const { signal } = context
  const cancelled = Promise.withResolvers<never>()
  cancelled.promise.catch(() => {})
  const onAbort = () => cancelled.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  const answer = patiently(context, final, () => context[end].transferStatus({ sessionId, waitMs, end }))
  answer.catch(() => {})
  return Promise.race([answer, cancelled.promise]).finally(() => signal.removeEventListener('abort', onAbort))
}

/** Watches the source until it has ended. @throws what broke at either end */
const follow = async (
  context: MoveContext,
  sessionId: string,
  { index, expectedBytes, final }: Shipment,
  keptBytes: number,
): Promise<TransferStatus> => {
  const { target, command, parts } = context
  for (;;) {
    const status = await statusOf(context, 'source', final, sessionId, statusWaitMs)
    context.signal.throwIfAborted()
    // Of what is gone on with: the rest, which the rate is of.
    const total = Math.max(expectedBytes - keptBytes, status.bytes)
    parts.progress.set(command.moveId, index + 1, status.bytes, total, status.ms)
    if (status.state === 'done') return status
    if (status.state === 'failed') {
      const there = await otherEnd(() => target.transferStatus({ sessionId, waitMs: 1000, end: 'target' }))
      const why = [status.error, there.error].filter((text) => text !== null).join('; on the target: ')
      if (noRoom.test(there.error ?? '')) throw await outOfRoom(context, keptBytes + status.bytes, keptBytes + total)
      const failure = new DroverError(
        'STREAM_FAILED',
        `shipping volume ${command.volumeName} from ${context.sourceHost.name} to ${context.targetHost.name} broke: ${why}`,
      )
      throw status.retryable || there.retryable ? new Retryable(failure, countsOf(status)) : failure
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

const otherEnd = async (ask: () => Promise<TransferStatus>): Promise<{ error: string | null; retryable: boolean }> => {
  try {
    return await ask()
  } catch (error) {
    if (hasCode(error, 'STREAM_FAILED', 'HOST_UNREACHABLE')) return { error: error.message, retryable: false }
    throw error
  }
}

/** So long the receiving command may still work when all has been sent. What came file by file is then read and proved. */
const finishMs: Readonly<Record<StreamKind, number>> = { native: 60_000, snapshot: 60_000, tree: 24 * 3_600_000 }
const finishWaitMs = 5_000

const checkDigest = async (
  context: MoveContext,
  sessionId: string,
  digest: string | null,
  final: boolean,
): Promise<void> => {
  const { command, parts } = context
  const startedAt = parts.clock.monotonic()
  for (;;) {
    const there = await statusOf(context, 'target', final, sessionId, finishWaitMs)
    if (there.state === 'running' && parts.clock.monotonic() - startedAt < finishMs[context.stream]) continue
    if (there.state === 'done' && there.digest === digest) return
    throw new DroverError(
      'STREAM_FAILED',
      `the stream of volume ${command.volumeName} arrived otherwise than it was sent: ${there.error ?? `digest ${there.digest} instead of ${digest}`}`,
    )
  }
}
