import type { Clock } from '../../../lib/clock.ts'
import { KeyedMutex } from '../../../lib/mutex.ts'

const slowestPerSecond = 0.1

/**
 * API calls that this host may make, for all its volumes together: a burst, and so many a second. What AWS throttles halves the rate, what goes well
 * brings it back bit by bit; nothing fails for it, it only waits.
 */
export class CallBudget {
  readonly #clock: Clock
  readonly #burst: number
  readonly #fullRate: number
  readonly #turns = new KeyedMutex<'turn'>()
  #rate: number
  #tokens: number
  #filledAt: number
  #made = 0

  constructor(clock: Clock, { burst = 20, perSecond = 4 } = {}) {
    this.#clock = clock
    this.#burst = burst
    this.#fullRate = perSecond
    this.#rate = perSecond
    this.#tokens = burst
    this.#filledAt = clock.monotonic()
  }

  /** Calls made so far. */
  get made(): number {
    return this.#made
  }

  /** Resolves when a call may be made, in the order of asking. */
  async take(): Promise<void> {
    await this.#turns.run('turn', async () => {
      this.#fill()
      if (this.#tokens < 1) {
        await this.#clock.sleep(((1 - this.#tokens) / this.#rate) * 1000)
        this.#fill()
      }
      // A sleep may end a moment early: what is owed shows as less than nothing.
      this.#tokens -= 1
      this.#made += 1
    })
  }

  throttled(): void {
    this.#rate = Math.max(this.#rate / 2, slowestPerSecond)
    this.#tokens = Math.min(this.#tokens, 0)
  }

  succeeded(): void {
    this.#rate = Math.min(this.#rate + this.#fullRate / 20, this.#fullRate)
  }

  #fill(): void {
    const now = this.#clock.monotonic()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * this.#rate)
    this.#filledAt = now
  }
}
