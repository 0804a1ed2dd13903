/** Time, injected everywhere so that tests and simulations own it. */
export interface Clock {
  /** Milliseconds since 1970, for records. */
  now(): number
  /** Milliseconds that never go back, for durations. */
  monotonic(): number
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason)
      const onAbort = () => {
        clearTimeout(timer)
        reject(signal?.reason)
      }
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }, ms)
      signal?.addEventListener('abort', onAbort, { once: true })
    }),
}

export const isoNow = (clock: Clock): string => new Date(clock.now()).toISOString()

/** Calls `work` after every `ms` until stopped. @returns stops it */
export const every = (clock: Clock, ms: number, work: () => void): (() => void) => {
  const stop = new AbortController()
  const run = async () => {
    for (;;) {
      await clock.sleep(ms, stop.signal)
      work()
    }
  }
  run().catch((error) => {
    if (!stop.signal.aborted) throw error
  })
  return () => stop.abort()
}

/** Calls `work` once, after `ms`, unless stopped before. @returns stops it */
export const later = (clock: Clock, ms: number, work: () => void): (() => void) => {
  const stop = new AbortController()
  clock.sleep(ms, stop.signal).then(work, (error) => {
    if (!stop.signal.aborted) throw error
  })
  return () => stop.abort()
}
