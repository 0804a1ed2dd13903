import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { DroverError } from '../../domain/errors.ts'
import type { ReceiveSpec, SendSpec, TransferResult } from '../transfer.ts'
import { type StreamCommand, startStreamCommand } from './command.ts'
import { awaitGo, dial } from './connect.ts'
import { asStreamFailure, isLost, streamFailed } from './failure.ts'
import { closeGently, type LinkWatch, plainTimes, watchLink } from './link.ts'
import { formatMessage, type ReceiverMessage, readMessages } from './messages.ts'
import { type FrameSource, startSource } from './source.ts'
import type { Task } from './task.ts'
import { createTokenBucket, type TokenBucket } from './token-bucket.ts'

/*
 * A trusted link: the commands hold the data connection itself, no byte passes through here. What is to be said goes over a second connection, `status`:
 * GO when the receiving command holds its socket (a byte that came earlier could be read by the wrong one), signs of life, `sent`, and the verdict.
 */

const pieceBytes = 256 * 1024

/** The sending end. @throws STREAM_FAILED; the command is gone then. */
export const sendPlainly = async (spec: SendSpec, task: Task): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  const ticket = spec.ticket ?? ''
  let status: Socket | null = null
  let command: StreamCommand | null = null
  let verdict: Verdict | null = null
  try {
    status = await Promise.race([
      dial(spec.address, { sessionId: spec.sessionId, channel: 'status', ticket }),
      task.aborted,
    ])
    const data = await Promise.race([
      dial(spec.address, { sessionId: spec.sessionId, channel: 'data', ticket }),
      task.aborted,
    ])
    data.on('error', () => {})
    await Promise.race([awaitGo(status, spec.address), task.aborted])
    verdict = listen(status, spec.peerHostId, task)
    if (spec.bwlimitBytes === null) command = handOver(spec, data)
    else {
      const bucket = createTokenBucket(spec.bwlimitBytes, task.clock)
      const source = startSource(spec.argv, Math.min(pieceBytes, bucket.pieceBytes), 0)
      command = source.command
      await Promise.race([pumpLimited(source, data, bucket), verdict.failed, task.aborted])
    }
    await Promise.race([command.ended, verdict.failed, task.aborted])
    status.write(formatMessage({ kind: 'sent' }))
    const { bytes } = await Promise.race([verdict.ok, verdict.failed, task.aborted])
    verdict.watch.release()
    status.end()
    return plainResult(bytes, task.clock.monotonic() - startedAt)
  } catch (error) {
    return giveUp(error, `sending to host ${spec.peerHostId}`, { command, verdict, status })
  }
}

const handOver = (spec: SendSpec, data: Socket): StreamCommand => {
  const command = startStreamCommand(spec.argv, 'ignore', data)
  data.destroy()
  return command
}

const pumpLimited = async (source: FrameSource, data: Socket, bucket: TokenBucket): Promise<void> => {
  for (let piece = await source.next(); piece !== null; piece = await source.next()) {
    await bucket.take(piece.length)
    const whole = piece
    await new Promise<void>((resolve, reject) => {
      data.write(whole, (error) => (error ? reject(error) : resolve()))
    })
    source.release(piece)
  }
  // The end of the data is the end of the connection: it must not come when the command failed.
  await source.command.ended
  data.end()
}

/** The receiving end, on two connections that `vold` routed here. @throws STREAM_FAILED; the command is gone then. */
export const receivePlainly = async (
  spec: ReceiveSpec,
  sockets: { data: Socket; status: Socket },
  task: Task,
): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  const { data, status } = sockets
  let command: StreamCommand | null = null
  let verdict: Verdict | null = null
  try {
    const readBefore = readByChildren()
    const running = startStreamCommand(spec.argv, data, 'ignore')
    command = running
    const arrived = () => (running.child.pid === undefined ? 0 : bytesRead(String(running.child.pid)))
    data.destroy()
    await once(data, 'close')
    status.write('GO\n')
    verdict = listen(status, spec.peerHostId, task, () => {
      const bytes = arrived()
      task.progress(bytes)
      return bytes
    })
    await Promise.race([Promise.all([command.ended, verdict.sent]), verdict.failed, task.aborted])
    verdict.watch.release()
    const bytes = readByChildren() - readBefore
    await new Promise<void>((resolve, reject) => {
      status.write(formatMessage({ kind: 'ok', bytes, digest: null }), (error) => (error ? reject(error) : resolve()))
    })
    await closeGently(status)
    return plainResult(bytes, task.clock.monotonic() - startedAt)
  } catch (error) {
    return giveUp(error, `receiving from host ${spec.peerHostId}`, { command, verdict, status })
  }
}

const plainResult = (bytes: number, ms: number): TransferResult => ({
  ...{ bytes, digest: null, ms: Math.round(ms) },
  ...{ resentBytes: 0, reconnects: 0, wireBytes: bytes },
})

/** For so long we wait for the other account of one failure. */
const accountMs = 500
const soon = (account: Promise<unknown> | undefined): Promise<DroverError | null> =>
  new Promise((resolve) => {
    setTimeout(resolve, account === undefined ? 0 : accountMs, null)
    account?.then(
      () => resolve(null),
      (error: unknown) => resolve(asStreamFailure(error, 'the command failed')),
    )
  })

/** Both commands hold one connection: when one fails the other does too, and either may be heard of first. So both are told. */
const giveUp = async (
  error: unknown,
  what: string,
  { command, verdict, status }: { command: StreamCommand | null; verdict: Verdict | null; status: Socket | null },
): Promise<never> => {
  const first = asStreamFailure(error, what)
  const own = await soon(command?.ended)
  await command?.kill()
  const ours = own ?? first
  if (status?.writable) status.write(formatMessage({ kind: 'failed', message: ours.message.slice(0, 4000) }))
  const heard = first === own ? await soon(verdict?.failed) : first
  if (status !== null) await closeGently(status)
  const accounts = [...new Set([ours, heard ?? ours])]
  const message = accounts.map((account) => account.message).join('; ')
  const lost = accounts.some(isLost) || brokenLink.test(message)
  throw streamFailed(message, { ...ours.details, ...(lost ? { lost } : {}) })
}

/** The commands hold the link themselves: what they say of it is all that tells a cut. */
const brokenLink = /connection reset|connection timed out|no route to host|network is unreachable|EPIPE|broken pipe/i

interface Verdict {
  readonly ok: Promise<Extract<ReceiverMessage, { kind: 'ok' }>>
  readonly sent: Promise<void>
  /** Never resolves. */
  readonly failed: Promise<never>
  readonly watch: LinkWatch
}

const listen = (status: Socket, peer: string, task: Task, count?: () => number): Verdict => {
  const ok = Promise.withResolvers<Extract<ReceiverMessage, { kind: 'ok' }>>()
  const sent = Promise.withResolvers<void>()
  const failed = Promise.withResolvers<never>()
  const watch = watchLink(
    status,
    peer,
    task.clock,
    count === undefined ? plainTimes : { ...plainTimes, aliveEveryMs: progressMs },
    () => true,
    () => status.write(formatMessage({ kind: 'alive', bytes: count?.() ?? 0 })),
  )
  readMessages(status, (message) => {
    watch.heard()
    if (message.kind === 'alive' && count === undefined) task.progress(message.bytes)
    if (message.kind === 'ok') ok.resolve(message)
    if (message.kind === 'sent') sent.resolve()
    if (message.kind === 'failed') failed.reject(streamFailed(`host ${peer} failed: ${message.message}`))
  })
  const either = Promise.race([failed.promise, watch.broken])
  either.catch(() => {})
  return { ok: ok.promise, sent: sent.promise, failed: either, watch }
}
const progressMs = 500

/** Bytes that a process or thread has read so far, see proc(5); on a plain link the only count there is, a few KiB too high. */
const bytesRead = (where: string): number => {
  try {
    return Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${where}/io`, 'latin1'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** A reaped child's reads are counted to its parent: what this process has read that no thread of its own has. */
const readByChildren = (): number =>
  readdirSync('/proc/self/task').reduce((left, thread) => left - bytesRead(`self/task/${thread}`), bytesRead('self'))
