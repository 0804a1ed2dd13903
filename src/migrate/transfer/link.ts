import type { Duplex } from 'node:stream'
import type { DroverError } from '../../domain/errors.ts'
import type { Clock } from '../../lib/clock.ts'
import { streamFailed } from './failure.ts'
import { aliveEveryMs, silentMs } from './messages.ts'

/** Tells, once, that a link is of no more use: closed, in error, or silent while we listened. */
export interface LinkWatch {
  /** Never resolves. @throws STREAM_FAILED */
  readonly broken: Promise<never>
  /** Something came. */
  heard(): void
  /** From now on a closed link is what we expect. */
  release(): void
}

/**
 * @param listening false while we hold the peer back ourselves
 * @param sayAlive called every few seconds
 */
export const watchLink = (
  link: Duplex,
  peer: string,
  clock: Clock,
  listening: () => boolean,
  sayAlive: () => void,
  everyMs = aliveEveryMs,
): LinkWatch => {
  let heardAt = clock.monotonic()
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(() => {})
  const give = (error: DroverError) => {
    clearInterval(timer)
    reject(error)
  }
  const timer = setInterval(() => {
    if (!listening()) heardAt = clock.monotonic()
    if (clock.monotonic() - heardAt > silentMs) {
      give(streamFailed(`host ${peer} was silent for ${silentMs / 1000} s in the middle of the stream`))
      return
    }
    sayAlive()
  }, everyMs)
  link.on('error', (error) => give(streamFailed(`the link to host ${peer} broke: ${error.message}`)))
  link.on('end', () => give(streamFailed(`host ${peer} closed the link in the middle of the stream`)))
  link.on('close', () => give(streamFailed(`the link to host ${peer} was cut in the middle of the stream`)))
  return {
    broken: promise,
    heard: () => {
      heardAt = clock.monotonic()
    },
    release: () => clearInterval(timer),
  }
}

/** Ends our side in order and gives the peer a moment to read our last words. */
export const closeGently = (link: Duplex): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(() => link.destroy(), lastWordsMs)
    link.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    if (link.closed) {
      clearTimeout(timer)
      return resolve()
    }
    link.resume()
    link.end()
  })
const lastWordsMs = 2_000
