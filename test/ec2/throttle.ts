import { Ec2Error } from './wire.ts'

/** A bucket of requests for the whole account, as EC2 has them: a burst, and so many a second that come back. */
export class Throttle {
  readonly #burst: number
  readonly #perSecond: number
  readonly #now: () => number
  #tokens: number
  #filledAt: number

  constructor({ burst, perSecond }: { burst: number; perSecond: number }, now: () => number) {
    this.#burst = burst
    this.#perSecond = perSecond
    this.#now = now
    this.#tokens = burst
    this.#filledAt = now()
  }

  /** @throws RequestLimitExceeded */
  take(): void {
    if (this.isSpent()) throw new Ec2Error('RequestLimitExceeded', 'Request limit exceeded.', 503)
  }

  /** True: there is none left; otherwise one less. */
  isSpent(): boolean {
    const now = this.#now()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * this.#perSecond)
    this.#filledAt = now
    if (this.#tokens < 1) return true
    this.#tokens -= 1
    return false
  }
}
