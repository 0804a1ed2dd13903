import type { Clock } from '../lib/clock.ts'
import { failureOf } from './failure.ts'

/**
 * Tries again while nobody answers, for `limitMs` at most: a vold that is started anew is back within seconds, and what it
 * was doing goes on.
 */
export const withPatience = async <T>(clock: Clock, limitMs: number, attempt: () => Promise<T>): Promise<T> => {
  const until = clock.monotonic() + limitMs
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (failureOf(error).exit !== 5 || clock.monotonic() >= until) throw error
    }
    await clock.sleep(200)
  }
}
