import type { Duplex } from 'node:stream'
import type { DroverError } from '../../domain/errors.ts'
import type { Clock } from '../../lib/clock.ts'
import { linkLost } from './failure.ts'

/** Tells, once, that a link is of no more use: closed, in error, or silent while we listened. */
export interface LinkWatch {
  /** Never resolves. @throws STREAM_FAILED, of a lost link */
  readonly broken: Promise<never>
  /** Monotonic time of the last sign of life. */
  heardAt(): number
  /** Something came. */
  heard(): void
  /** From now on a closed link is what we expect. */
  release(): void
}

export interface LinkTimes {
  readonly aliveEveryMs: number
  /** Nothing heard for so long: the link or the other end is gone. */
  readonly silentMs: number
}

/** A session loses nothing when it takes a slow link for a dead one; without one, that ends the transfer. */
export const sessionTimes: LinkTimes = { aliveEveryMs: 2_000, silentMs: 10_000 }
export const plainTimes: LinkTimes = { aliveEveryMs: 5_000, silentMs: 30_000 }

/**
 * @param listening false while we hold the peer back ourselves
 * @param sayAlive called every few seconds
 */
export const watchLink = (
  link: Duplex,
  peer: string,
  clock: Clock,
  times: LinkTimes,
  listening: () => boolean,
  sayAlive: () => void,
): LinkWatch => {
  let heardAt = clock.monotonic()
  let isOver = false
  const { promise, reject } = Promise.withResolvers<never>()
  promise.catch(() => {})
  const stop = () => {
    isOver = true
    clearInterval(timer)
  }
  const give = (error: DroverError) => {
    if (isOver) return
    stop()
    reject(error)
  }
  const timer = setInterval(() => {
    if (!listening()) heardAt = clock.monotonic()
    if (clock.monotonic() - heardAt > times.silentMs) {
      give(linkLost(`host ${peer} was silent for ${times.silentMs / 1000} s in the middle of the stream`))
      return
    }
    sayAlive()
  }, times.aliveEveryMs)
  link.on('error', (error) => give(linkLost(`the link to host ${peer} broke: ${error.message}`)))
  link.on('end', () => give(linkLost(`host ${peer} closed the link in the middle of the stream`)))
  link.on('close', () => give(linkLost(`the link to host ${peer} was cut in the middle of the stream`)))
  if (link.destroyed) give(linkLost(`the link to host ${peer} was cut before the stream began`))
  return {
    broken: promise,
    heardAt: () => heardAt,
    heard: () => {
      heardAt = clock.monotonic()
    },
    release: stop,
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
