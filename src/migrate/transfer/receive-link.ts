import type { TLSSocket } from 'node:tls'
import { digestKeyBytes } from './digest.ts'
import { asStreamFailure, linkLost, streamFailed } from './failure.ts'
import { createFrameParser, parseEnd, parseHello } from './frames.ts'
import { sessionTimes, watchLink } from './link.ts'
import { formatMessage } from './messages.ts'
import { unpack } from './packing.ts'
import { readInto } from './read-into.ts'
import type { ArrivingStream } from './stream-arrival.ts'
import type { Task } from './task.ts'

/** So often the sender is told what it need not keep any more. */
const ackEveryBytes = 2 * 2 ** 20
const helloMs = 10_000

/** One link of a receiver's session. */
export interface Arriving {
  /** @throws STREAM_FAILED when it is not this session's, or says nothing */
  readonly accepted: Promise<void>
  /** Never resolves. @throws STREAM_FAILED, lost: the stream may go on over another one */
  readonly broken: Promise<never>
  /** Never resolves. @throws STREAM_FAILED that ends the session */
  readonly failed: Promise<never>
  /** The sender has heard the verdict. */
  readonly done: Promise<void>
  heardAt(): number
  /** From now on a closed link is what we expect. */
  release(): void
  /** Another link has taken its place. */
  drop(): void
}

/** @param on.accept null: the link is not this session's */
export const arriveOver = (
  link: TLSSocket,
  peer: string,
  task: Task,
  on: {
    readonly accept: (key: Buffer, number: number) => ArrivingStream | null
    readonly came: (bytes: number) => void
  },
): Arriving => {
  const accepted = Promise.withResolvers<void>()
  const failed = Promise.withResolvers<never>()
  const done = Promise.withResolvers<void>()
  for (const { promise } of [accepted, failed]) promise.catch(() => {})
  let stream: ArrivingStream | null = null
  let acknowledged = 0
  const watch = watchLink(
    link,
    peer,
    task.clock,
    task.times ?? sessionTimes,
    () => !link.isPaused(),
    () => link.write(formatMessage({ kind: 'alive', bytes: stream?.taken ?? 0 })),
  )
  watch.broken.catch(accepted.reject)
  const helloTimer = setTimeout(() => accepted.reject(linkLost(`host ${peer} said no hello`)), helloMs)

  const hello = (body: Buffer) => {
    clearTimeout(helloTimer)
    const { key, link: number } = parseHello(body, digestKeyBytes)
    stream = on.accept(key, number)
    if (stream === null) return accepted.reject(streamFailed(`host ${peer} came with another session's hello, or late`))
    acknowledged = stream.taken
    if (stream.isHeld) link.pause()
    accepted.resolve()
  }
  const take = (piece: Buffer) => {
    if (stream === null) throw new Error('data came before the hello')
    if (stream.push(piece)) link.pause()
    if (stream.taken - acknowledged < ackEveryBytes) return
    acknowledged = stream.taken
    link.write(formatMessage({ kind: 'ack', bytes: acknowledged }))
  }
  const parse = createFrameParser({
    data: take,
    control: (kind, body) => {
      if (kind === 'hello' && stream === null) hello(body)
      else if (stream === null) throw new Error(`the peer sent ${kind} before the hello`)
      else if (kind === 'packed') take(unpack(body))
      else if (kind === 'failure') failed.reject(streamFailed(`host ${peer} failed to send: ${body.toString()}`))
      else if (kind === 'end') stream.end(parseEnd(body))
      else if (kind === 'done') done.resolve()
      else if (kind !== 'alive') throw new Error(`the peer sent ${kind} out of order`)
    },
  })
  let stopped = false
  const stop = () => {
    clearTimeout(helloTimer)
    watch.release()
    stopped = true
  }
  const onPiece = (piece: Buffer) => {
    if (stopped) return
    watch.heard()
    on.came(piece.length)
    try {
      parse(piece)
    } catch (error) {
      stop()
      const failure = asStreamFailure(error, `the stream from host ${peer} is damaged`)
      // Who was not accepted cannot do harm to the session.
      accepted.reject(failure)
      if (stream !== null) failed.reject(failure)
    }
  }
  readInto(link, onPiece)
  return {
    accepted: accepted.promise,
    broken: watch.broken,
    failed: failed.promise,
    done: done.promise,
    heardAt: watch.heardAt,
    release: watch.release,
    drop() {
      stop()
      link.destroy()
    },
  }
}
