import type { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'

interface Waiter<T> {
  readonly id: string
  readonly isReached: (seen: T | null) => boolean
  readonly endsAt: number
  readonly sayLate: (seen: T | null) => DroverError
  readonly resolve: (seen: T | null) => void
  readonly reject: (error: unknown) => void
}

const firstWaitMs = 1_000
const longestWaitMs = 10_000

/** Waits for things in the cloud to reach a state. However many wait, one call asks for all of them, less and less often. */
export class Watch<T extends { readonly id: string }> {
  readonly #describe: (ids: readonly string[]) => Promise<T[]>
  readonly #clock: Clock
  readonly #waiting = new Set<Waiter<T>>()
  #waitMs = firstWaitMs
  #isRunning = false

  constructor(describe: (ids: readonly string[]) => Promise<T[]>, clock: Clock) {
    this.#describe = describe
    this.#clock = clock
  }

  /** @param isReached null: not there, or not seen yet @throws what `sayLate` makes of what was last seen */
  until(
    id: string,
    isReached: (seen: T | null) => boolean,
    timeoutMs: number,
    sayLate: (seen: T | null) => DroverError,
  ): Promise<T | null> {
    const { promise, resolve, reject } = Promise.withResolvers<T | null>()
    const endsAt = this.#clock.monotonic() + timeoutMs
    this.#waiting.add({ id, isReached, endsAt, sayLate, resolve, reject })
    this.#waitMs = firstWaitMs
    if (!this.#isRunning) {
      this.#isRunning = true
      void this.#run()
    }
    return promise
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      await this.#clock.sleep(this.#waitMs)
      this.#waitMs = Math.min(this.#waitMs * 1.5, longestWaitMs)
      const asked = [...this.#waiting]
      try {
        const found = new Map(
          (await this.#describe([...new Set(asked.map(({ id }) => id))])).map((each) => [each.id, each]),
        )
        for (const waiter of asked) this.#look(waiter, found.get(waiter.id) ?? null)
      } catch (error) {
        for (const waiter of asked) this.#end(waiter, () => waiter.reject(error))
      }
    }
    this.#isRunning = false
  }

  #look(waiter: Waiter<T>, seen: T | null): void {
    if (waiter.isReached(seen)) this.#end(waiter, () => waiter.resolve(seen))
    else if (this.#clock.monotonic() >= waiter.endsAt) this.#end(waiter, () => waiter.reject(waiter.sayLate(seen)))
  }

  #end(waiter: Waiter<T>, act: () => void): void {
    this.#waiting.delete(waiter)
    act()
  }
}
