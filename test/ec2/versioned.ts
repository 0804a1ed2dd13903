export interface Version<T> {
  readonly at: number
  /** Null: gone since then. */
  readonly value: T | null
}

/** Things by their id, as they are and as they were: who describes them is answered from a copy that lags behind. */
export class Versioned<T> {
  readonly #now: () => number
  readonly #versions = new Map<string, Version<T>[]>()

  constructor(now: () => number) {
    this.#now = now
  }

  get(id: string): T | null {
    return this.#versions.get(id)?.at(-1)?.value ?? null
  }

  put(id: string, value: T | null): void {
    const versions = this.#versions.get(id) ?? []
    versions.push({ at: this.#now(), value })
    this.#versions.set(id, versions)
  }

  /** As it was at that time; null: not there yet, or no more. */
  seen(id: string, at: number): T | null {
    return this.#versions.get(id)?.findLast((version) => version.at <= at)?.value ?? null
  }

  /** All that there ever was of each: what it was, and from when. */
  histories(): (readonly Version<T>[])[] {
    return [...this.#versions.values()]
  }

  allSeen(at: number): T[] {
    return [...this.#versions.keys()].map((id) => this.seen(id, at)).filter((each) => each !== null)
  }

  all(): T[] {
    return this.allSeen(Number.POSITIVE_INFINITY)
  }
}
