import type { TLSSocket } from 'node:tls'
import type { StreamCommand } from './command.ts'
import { linkLost, strangerMet, streamFailed } from './failure.ts'
import { controlFrame, endFrame, headerBytes, helloFrame, writeHeader } from './frames.ts'
import { sessionTimes, watchLink } from './link.ts'
import { type ReceiverMessage, readMessages } from './messages.ts'
import { pack } from './packing.ts'
import type { Piece, ReplayWindow } from './replay-window.ts'
import type { Task } from './task.ts'
import type { TokenBucket } from './token-bucket.ts'

/** What a sender keeps from one link to the next. */
export interface SendSession {
  readonly command: StreamCommand
  readonly window: ReplayWindow
  readonly bucket: TokenBucket | null
  readonly peerHostId: string
  readonly isPacked: boolean
  /** So far into the stream something has been sent. */
  sentBytes: number
  resentBytes: number
  /** Frames, as they went into TLS. */
  wireBytes: number
}

interface Sent {
  readonly bytes: number
  readonly digest: string
}

export interface Sending {
  /** @throws STREAM_FAILED, `lost` when only the link was to blame */
  readonly sent: Promise<Sent>
  heardAt(): number
}

/** Sends over one link, from where the peer has got to, until the verdict or until the link breaks. */
export const sendOver = (link: TLSSocket, number: number, session: SendSession, task: Task): Sending => {
  const { window, peerHostId } = session
  const verdict = Promise.withResolvers<Extract<ReceiverMessage, { kind: 'ok' }>>()
  const resumed = Promise.withResolvers<number>()
  const failed = Promise.withResolvers<never>()
  for (const { promise } of [verdict, resumed, failed]) promise.catch(() => {})
  const watch = watchLink(
    link,
    peerHostId,
    task.clock,
    task.times ?? sessionTimes,
    () => true,
    () => link.writableLength === 0 && link.write(controlFrame('alive')),
  )
  readMessages(link, (message) => {
    watch.heard()
    if (message.kind === 'ack') attempt(() => window.acknowledge(message.bytes), failed.reject)
    if (message.kind === 'resume') resumed.resolve(message.bytes)
    if (message.kind === 'ok') {
      // It may close the link from now on.
      watch.release()
      verdict.resolve(message)
    }
    if (message.kind === 'stranger') failed.reject(strangerRefused(number, peerHostId, message.message))
    if (message.kind === 'failed') {
      failed.reject(streamFailed(`host ${peerHostId} failed to receive: ${message.message}`))
    }
  })
  const work = async (): Promise<Sent> => {
    link.write(helloFrame(window.key, number))
    // Nothing was sent before a session's first link: it begins without a question.
    const turn = window.rewind(number === 1 ? 0 : await resumed.promise)
    await pump(link, turn, session, task)
    // The end is told only after the command ended well: a cut output never looks whole.
    await session.command.ended
    const sent = window.end()
    // Not awaited: the answer may overtake the news that this was written. A link that cannot write it tells so itself.
    link.write(endFrame(sent.bytes, sent.digest))
    const answer = await verdict.promise
    if (answer.bytes !== sent.bytes || answer.digest !== sent.digest) {
      throw streamFailed(`host ${peerHostId} acknowledged ${answer.bytes} bytes of ${sent.bytes}, or other ones`)
    }
    if (link.writable) link.end(controlFrame('done'))
    return sent
  }
  const early = verdict.promise.then((answer) => {
    if (answer.bytes !== session.sentBytes) {
      throw streamFailed(`host ${peerHostId} acknowledged a stream that had not ended`)
    }
    return new Promise<never>(() => {})
  })
  early.catch(() => {})
  const sent = Promise.race([work(), early, failed.promise, watch.broken, task.aborted]).finally(watch.release)
  return { sent, heardAt: watch.heardAt }
}

/** On a session's first link that is for good; later the address may have led astray for a while. */
const strangerRefused = (number: number, peer: string, message: string) =>
  number === 1
    ? strangerMet(`TLS with host ${peer} failed: ${message}`)
    : linkLost(`TLS with host ${peer} failed: ${message}`)

const attempt = (work: () => void, failed: (error: unknown) => void): void => {
  try {
    work()
  } catch (error) {
    failed(error)
  }
}

const pump = async (link: TLSSocket, turn: number, session: SendSession, task: Task): Promise<void> => {
  const { window, bucket } = session
  const write = (wire: Buffer, { start, body }: Piece) =>
    new Promise<void>((resolve, reject) => {
      const end = start + body.length
      if (!link.writable) return reject(linkLost(`the link to host ${session.peerHostId} is closed`))
      session.wireBytes += wire.length
      session.resentBytes += Math.max(0, Math.min(end, session.sentBytes) - start)
      session.sentBytes = Math.max(session.sentBytes, end)
      link.write(wire, (error) => {
        if (error) return reject(linkLost(`the link to host ${session.peerHostId} broke: ${error.message}`))
        task.progress(session.sentBytes)
        resolve()
      })
    })
  let writing = Promise.resolve()
  for (let piece = await window.next(turn); piece !== null; piece = await window.next(turn)) {
    const wire = (session.isPacked ? await pack(piece.body) : null) ?? dataFrame(piece)
    await writing
    await bucket?.take(wire.length - headerBytes)
    writing = write(wire, piece)
    // It is awaited when the next piece is there; until then the link's own watch tells.
    writing.catch(() => {})
  }
  await writing
}

/** The frame as it stands in memory; only the rest of one that was cut is copied. */
const dataFrame = ({ frame, body }: Piece): Buffer => {
  if (frame === null) return controlFrame('data', body)
  writeHeader(frame, 'data', body.length)
  return frame
}
