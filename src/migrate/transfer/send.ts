import type { TLSSocket } from 'node:tls'
import type { SendSpec, TransferResult } from '../transfer.ts'
import { awaitGo, dial } from './connect.ts'
import { createDigest } from './digest.ts'
import { asStreamFailure, streamFailed } from './failure.ts'
import { controlFrame, endFrame, headerBytes, writeHeader } from './frames.ts'
import { closeGently, watchLink } from './link.ts'
import { type ReceiverMessage, readMessages } from './messages.ts'
import { secureAsSender } from './secure.ts'
import { type FrameSource, startSource } from './source.ts'
import type { Task } from './task.ts'
import { createTokenBucket, type TokenBucket } from './token-bucket.ts'

/** Header and body together are whole TLS records of 16 KiB. */
const frameBytes = 256 * 1024

/** The sending end over mutual TLS. @throws STREAM_FAILED; the command is gone then. */
export const sendSecurely = async (spec: SendSpec, task: Task, open = dialSecurely): Promise<TransferResult> => {
  const startedAt = task.clock.monotonic()
  const bucket = spec.bwlimitBytes === null ? null : createTokenBucket(spec.bwlimitBytes, task.clock)
  const bodyBytes = Math.min(frameBytes - headerBytes, bucket?.pieceBytes ?? frameBytes)
  // The command starts at once: its first bytes wait in memory while the link is made.
  const source = await startSource(spec.argv, bodyBytes, headerBytes)
  let link: TLSSocket | null = null
  try {
    link = await Promise.race([open(spec, task), task.aborted])
    const sent = await sendStream(link, { source, bucket }, spec, task)
    return { ...sent, ms: Math.round(task.clock.monotonic() - startedAt) }
  } catch (error) {
    const failure = asStreamFailure(error, `sending to host ${spec.peerHostId}`)
    await source.command.kill()
    if (link !== null) {
      if (link.writable) link.write(controlFrame('failure', Buffer.from(failure.message.slice(0, 4000))))
      await closeGently(link)
    }
    throw failure
  }
}

interface Origin {
  readonly source: FrameSource
  readonly bucket: TokenBucket | null
}

/** How a sender comes by its link. */
const dialSecurely = async (spec: SendSpec, task: Task): Promise<TLSSocket> => {
  const socket = await dial(spec.address, { sessionId: spec.sessionId, channel: 'data', ticket: null })
  await awaitGo(socket, spec.address)
  return secureAsSender(socket, task.identity, spec.peerHostId)
}

const sendStream = async (
  link: TLSSocket,
  from: Origin,
  spec: SendSpec,
  task: Task,
): Promise<{ bytes: number; digest: string }> => {
  const verdict = Promise.withResolvers<Extract<ReceiverMessage, { kind: 'ok' }>>()
  verdict.promise.catch(() => {})
  const watch = watchLink(
    link,
    spec.peerHostId,
    task.clock,
    () => true,
    () => link.writableLength === 0 && link.write(controlFrame('alive')),
  )
  readMessages(link, (message) => {
    watch.heard()
    if (message.kind === 'ok') verdict.resolve(message)
    if (message.kind === 'failed') {
      verdict.reject(streamFailed(`host ${spec.peerHostId} failed to receive: ${message.message}`))
    }
  })
  const failed = verdict.promise.then(() => {
    throw streamFailed(`host ${spec.peerHostId} acknowledged a stream that had not ended`)
  })
  failed.catch(() => {})
  try {
    const sent = await Promise.race([pump(link, from, task), failed, watch.broken, task.aborted])
    const answer = await Promise.race([verdict.promise, watch.broken, task.aborted])
    if (answer.bytes !== sent.bytes || answer.digest !== sent.digest) {
      throw streamFailed(`host ${spec.peerHostId} acknowledged ${answer.bytes} bytes of ${sent.bytes}, or other ones`)
    }
    watch.release()
    link.end()
    return sent
  } finally {
    watch.release()
  }
}

const pump = async (
  link: TLSSocket,
  { source, bucket }: Origin,
  task: Task,
): Promise<{ bytes: number; digest: string }> => {
  const write = (frame: Buffer) =>
    new Promise<void>((resolve, reject) => {
      link.write(frame, (error) => (error ? reject(error) : resolve()))
    })
  const digest = createDigest()
  let bytes = 0
  await write(controlFrame('hello', digest.key))
  for (let frame = await source.next(); frame !== null; frame = await source.next()) {
    const body = frame.subarray(headerBytes)
    await bucket?.take(body.length)
    digest.update(body)
    writeHeader(frame, 'data', body.length)
    await write(frame)
    bytes += body.length
    task.progress(bytes)
    source.release(frame)
  }
  // The end is told only after the command ended well: a cut output never looks whole.
  await source.command.ended
  const text = digest.end()
  // Not awaited: the answer may overtake the news that this was written. A link that cannot write it tells so itself.
  link.write(endFrame(bytes, text))
  return { bytes, digest: text }
}
