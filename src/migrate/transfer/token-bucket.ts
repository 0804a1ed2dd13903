import type { Clock } from '../../lib/clock.ts'

/** Holds a stream to a rate. The bucket holds a tenth of a second, so that a limit is kept over any second. */
export interface TokenBucket {
  /** The largest piece that should be taken at once, in bytes. */
  readonly pieceBytes: number
  /** Resolves when `bytes` more may go. */
  take(bytes: number): Promise<void>
}

export const createTokenBucket = (bytesPerSecond: number, clock: Clock): TokenBucket => {
  const capacity = Math.max(1, Math.ceil(bytesPerSecond / 10))
  let tokens = capacity
  let filledAt = clock.monotonic()
  return {
    pieceBytes: capacity,
    async take(bytes) {
      const now = clock.monotonic()
      tokens = Math.min(capacity, tokens + ((now - filledAt) / 1000) * bytesPerSecond)
      filledAt = now
      tokens -= bytes
      if (tokens < 0) await clock.sleep((-tokens / bytesPerSecond) * 1000)
    },
  }
}
