import { type Clock, later } from '../lib/clock.ts'

/**
 * Runs work that is due, soon and again and again, until a run finds everything done. A run that something slow holds up keeps the next
 * ones from nothing: they begin all the same.
 */
export class Insistence {
  readonly #clock: Clock
  readonly #everyMs: number
  readonly #run: () => Promise<boolean>
  #stopTimer: (() => void) | null = null
  #wishes = 0
  #isClosed = false

  /** @param run true: nothing is left to do, as far as it was wished for before the run began; it never rejects */
  constructor(clock: Clock, everyMs: number, run: () => Promise<boolean>) {
    this.#clock = clock
    this.#everyMs = everyMs
    this.#run = run
  }

  /** There is something to do. */
  wish(): void {
    this.#wishes += 1
    this.#arm()
  }

  close(): void {
    this.#isClosed = true
    this.#disarm()
  }

  #arm(): void {
    if (!this.#isClosed) this.#stopTimer ??= later(this.#clock, this.#everyMs, () => void this.#tick())
  }

  #disarm(): void {
    this.#stopTimer?.()
    this.#stopTimer = null
  }

  async #tick(): Promise<void> {
    this.#stopTimer = null
    const heard = this.#wishes
    this.#arm()
    if ((await this.#run()) && heard === this.#wishes) this.#disarm()
  }
}
