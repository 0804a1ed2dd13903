import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'

/**
 * The same bytes, from a stream that fails with TIMED_OUT when none comes for `silenceMs`. Errors go both ways: a source
 * that breaks breaks it, and destroying it destroys the source.
 */
export const failOnSilence = (clock: Clock, source: Readable, what: string, silenceMs: number): Readable => {
  let heardAt = clock.monotonic()
  const guarded = new Transform({
    highWaterMark: 2 ** 20,
    transform(chunk, _encoding, done) {
      heardAt = clock.monotonic()
      done(null, chunk)
    },
  })
  const ended = new AbortController()
  const watch = async (): Promise<void> => {
    for (;;) {
      const left = heardAt + silenceMs - clock.monotonic()
      if (left <= 0) break
      await clock.sleep(left, ended.signal)
    }
    guarded.destroy(
      new DroverError('TIMED_OUT', `no byte for ${silenceMs} ms in: ${what}; see what its other end does`),
    )
  }
  // The watch ends by being aborted; what the pipeline tells is told by the stream itself, to its reader.
  watch().catch(() => undefined)
  pipeline(source, guarded)
    .catch(() => undefined)
    .finally(() => ended.abort())
  return guarded
}
