import type { Clock } from '../../lib/clock.ts'
import type { TakenSnapshot } from '../backend.ts'

interface Parts<T> {
  /** What is to become a snapshot. */
  readonly cloned: T
  readonly clock: Clock
  /** Rejects when it will never be. */
  readonly whole: Promise<void>
  readonly signal: AbortSignal
  readonly forget: () => void
  readonly drop: () => Promise<void>
}

/** A clone that the storage has not ended yet: somebody uses it, or it is given up and removed, once. */
export class Taken<T> implements TakenSnapshot {
  readonly #parts: Parts<T>
  readonly #whole: Promise<void>
  readonly #onAbort: () => void
  #isOver = false

  constructor(parts: Parts<T>) {
    this.#parts = parts
    const given = Promise.withResolvers<void>()
    parts.whole.then(given.resolve, given.reject)
    this.#onAbort = () => given.reject(parts.signal.reason)
    this.#whole = given.promise
    // Nobody need wait for it just then.
    this.#whole.catch(() => this.#giveUp())
    if (parts.signal.aborted) this.#onAbort()
    else parts.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  async isWhole(patienceMs: number): Promise<boolean> {
    const enough = new AbortController()
    const late = this.#parts.clock.sleep(patienceMs, enough.signal).then(
      () => false,
      () => false,
    )
    try {
      return await Promise.race([this.#whole.then(() => true), late])
    } finally {
      enough.abort()
    }
  }

  /** Null: it was used, or given up. */
  use(): T | null {
    return this.#end() ? this.#parts.cloned : null
  }

  async #giveUp(): Promise<void> {
    // What is left is taken up by the next start.
    if (this.#end()) await this.#parts.drop().catch(() => {})
  }

  #end(): boolean {
    if (this.#isOver) return false
    this.#isOver = true
    this.#parts.signal.removeEventListener('abort', this.#onAbort)
    this.#parts.forget()
    return true
  }
}
