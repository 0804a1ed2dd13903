import type { Clock } from './clock.ts'

/** What `work` gives, or after `ms` the error of `late`: from then on nobody waits for it, and it ends by itself. */
export const within = async <T>(clock: Clock, ms: number, work: Promise<T>, late: () => Error): Promise<T> => {
  const enough = new AbortController()
  const expired = clock.sleep(ms, enough.signal).then(
    () => Promise.reject(late()),
    () => work,
  )
  // Nobody waits for the one that comes second.
  for (const each of [work, expired]) each.catch(() => {})
  return Promise.race([work, expired]).finally(() => enough.abort())
}

/** What `work` gives, or the signal's reason as soon as it is aborted: from then on nobody waits for it, and it ends by itself. */
export const unlessAborted = async <T>(signal: AbortSignal | undefined, work: Promise<T>): Promise<T> => {
  if (signal === undefined) return work
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  for (const each of [work, aborted.promise]) each.catch(() => {})
  if (signal.aborted) onAbort()
  else signal.addEventListener('abort', onAbort, { once: true })
  return Promise.race([aborted.promise, work]).finally(() => signal.removeEventListener('abort', onAbort))
}
