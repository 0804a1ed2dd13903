import type { RemovalFacet } from './backend.ts'

/** The slow part of removals, one sweep after the other, in the background. What there is to do is asked of the pool each time. */
export abstract class RemovalQueue implements RemovalFacet {
  protected readonly closing = new AbortController()
  #waiting = 0
  #work: Promise<void> = Promise.resolve()

  /** What is out of sight, and still there. */
  protected abstract entries(): Promise<string[]>

  /** Works on all of them; what ends badly is logged, and stays for the next time. */
  protected abstract empty(): Promise<void>

  /** Starts on what is there, after what is being worked on. */
  sweep(): void {
    this.#waiting += 1
    this.#work = this.#work
      .then(() => this.empty())
      .finally(() => {
        this.#waiting -= 1
      })
  }

  /** Entries that nobody works on: their removal ended badly. */
  async stuck(): Promise<string[]> {
    const entries = await this.entries()
    return this.#waiting > 0 ? [] : entries
  }

  async retry(): Promise<void> {
    this.sweep()
    await this.settled()
  }

  settled(): Promise<void> {
    return this.#work
  }

  async close(): Promise<void> {
    this.closing.abort()
    await this.#work
  }
}
