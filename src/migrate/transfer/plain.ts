import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import type { ReceiveSpec, SendSpec, TransferResult } from '../transfer.ts'
import { outputOf, type StreamCommand, startCommand } from './command.ts'
import { awaitGo, dial } from './connect.ts'
import { asStreamFailure, streamFailed } from './failure.ts'
import { closeGently, type LinkWatch, watchLink } from './link.ts'
import { formatMessage, type ReceiverMessage, readMessages } from './messages.ts'
import { createSource } from './source.ts'
import type { Task } from './task.ts'
import { createTokenBucket } from './token-bucket.ts'

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
    const verdict = listen(status, spec.peerHostId, task)
    command = spec.bwlimitBytes === null ? handOver(spec, data) : startCommand(spec.argv, 'ignore', 'pipe')
    if (spec.bwlimitBytes !== null) {
      await Promise.race([pumpLimited(command, data, spec.bwlimitBytes, task), verdict.failed, task.aborted])
    }
    await Promise.race([command.ended, verdict.failed, task.aborted])
    status.write(formatMessage({ kind: 'sent' }))
    const { bytes } = await Promise.race([verdict.ok, verdict.failed, task.aborted])
    verdict.watch.release()
    status.end()
    return { bytes, digest: null, ms: Math.round(task.clock.monotonic() - startedAt) }
  } catch (error) {
    return giveUp(error, `sending to host ${spec.peerHostId}`, command, status)
  }
}

const handOver = (spec: SendSpec, data: Socket): StreamCommand => {
  const command = startCommand(spec.argv, 'ignore', data)
  data.destroy()
  return command
}

const pumpLimited = async (command: StreamCommand, data: Socket, bytesPerSecond: number, task: Task): Promise<void> => {
  const bucket = createTokenBucket(bytesPerSecond, task.clock)
  const source = createSource(outputOf(command), Math.min(pieceBytes, bucket.pieceBytes), 0)
  for (let piece = await source.next(); piece !== null; piece = await source.next()) {
    await bucket.take(piece.length)
    const whole = piece
    await new Promise<void>((resolve, reject) => {
      data.write(whole, (error) => (error ? reject(error) : resolve()))
    })
    source.release(piece)
  }
  // The end of the data is the end of the connection: it must not come when the command failed.
  await command.ended
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
  try {
    const readBefore = bytesRead('self')
    const running = startCommand(spec.argv, data, 'ignore')
    command = running
    const arrived = () => (running.child.pid === undefined ? 0 : bytesRead(running.child.pid))
    data.destroy()
    await once(data, 'close')
    status.write('GO\n')
    const verdict = listen(status, spec.peerHostId, task, () => {
      const bytes = arrived()
      task.progress(bytes)
      return bytes
    })
    await Promise.race([Promise.all([command.ended, verdict.sent]), verdict.failed, task.aborted])
    verdict.watch.release()
    // A reaped child's reads are counted to its parent.
    const bytes = bytesRead('self') - readBefore
    await new Promise<void>((resolve, reject) => {
      status.write(formatMessage({ kind: 'ok', bytes, digest: null }), (error) => (error ? reject(error) : resolve()))
    })
    await closeGently(status)
    return { bytes, digest: null, ms: Math.round(task.clock.monotonic() - startedAt) }
  } catch (error) {
    return giveUp(error, `receiving from host ${spec.peerHostId}`, command, status)
  }
}

const ownWordsMs = 200
const asIs = (error: unknown) => asStreamFailure(error, 'the command failed')
const sleep = (ms: number) => new Promise<null>((resolve) => setTimeout(resolve, ms, null))

const giveUp = async (
  error: unknown,
  what: string,
  command: StreamCommand | null,
  status: Socket | null,
): Promise<never> => {
  // Both commands hold one connection: when one fails the other does too, and either may be heard of first.
  const own = command === null ? null : await Promise.race([command.ended.then(() => null, asIs), sleep(ownWordsMs)])
  const other = asStreamFailure(error, what)
  const failure = own === null || own === other ? other : streamFailed(`${own.message}; ${other.message}`, own.details)
  await command?.kill()
  if (status !== null) {
    if (status.writable) status.write(formatMessage({ kind: 'failed', message: failure.message.slice(0, 4000) }))
    await closeGently(status)
  }
  throw failure
}

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
    () => true,
    () => status.write(formatMessage({ kind: 'alive', bytes: count?.() ?? 0 })),
    count === undefined ? undefined : progressMs,
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

/** Bytes that a process has read so far, see proc(5); on a plain link the only count there is, a few KiB too high. */
const bytesRead = (pid: number | 'self'): number => {
  try {
    return Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'latin1'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
