/** A wish for slots on several hosts at once. */
export interface Wish {
  readonly hosts: readonly string[]
  /** On each of them; more than there are counts as all of them. */
  readonly slots: number
  /** Waiters go by this, the least first. */
  readonly order: string
}

interface Waiter extends Wish {
  readonly grant: () => void
}

/**
 * So many slots a host. A wish gets all of its slots at once or none, so that nobody holds one host while it waits for another: no
 * deadlock. Who waits has its slots set aside on each of its hosts, as they come free, against everybody after it: no starvation, and
 * yet a later one goes ahead where it takes nothing from an earlier one.
 */
export class Slots {
  readonly #perHost: number
  readonly #used = new Map<string, number>()
  #waiting: readonly Waiter[] = []

  constructor(perHost: number) {
    this.#perHost = perHost
  }

  /** Resolves with the way to give them back, once granted. Rejects with the signal's reason when that is aborted first. */
  async acquire(wish: Wish, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter: Waiter = { ...wish, slots: this.#fitting(wish), grant: resolve }
    const leave = () => {
      this.#waiting = this.#waiting.filter((other) => other !== waiter)
      reject(signal.reason)
      this.#grantWhatFits()
    }
    this.#waiting = [...this.#waiting, waiter].toSorted((one, other) => (one.order < other.order ? -1 : 1))
    signal.addEventListener('abort', leave, { once: true })
    this.#grantWhatFits()
    await promise.finally(() => signal.removeEventListener('abort', leave))
    return this.#giveBack(waiter)
  }

  /** Takes them whether there are any or not: for work that must not wait. Others wait until it is over. */
  take(wish: Wish): () => void {
    const taken = { ...wish, slots: this.#fitting(wish) }
    this.#use(taken, 1)
    return this.#giveBack(taken)
  }

  /** Orders of those that wait, next one first. */
  waiting(): string[] {
    return this.#waiting.map(({ order }) => order)
  }

  #fitting({ slots }: Wish): number {
    return Math.min(slots, this.#perHost)
  }

  #grantWhatFits(): void {
    const free = new Map<string, number>()
    const freeOn = (host: string) => free.get(host) ?? this.#perHost - (this.#used.get(host) ?? 0)
    const granted: Waiter[] = []
    for (const waiter of this.#waiting) {
      const fits = waiter.hosts.every((host) => freeOn(host) >= waiter.slots)
      if (fits) granted.push(waiter)
      // Granted or set aside: gone for those after it.
      for (const host of waiter.hosts) free.set(host, freeOn(host) - waiter.slots)
    }
    this.#waiting = this.#waiting.filter((waiter) => !granted.includes(waiter))
    for (const waiter of granted) {
      this.#use(waiter, 1)
      waiter.grant()
    }
  }

  #giveBack(wish: Wish): () => void {
    let held = true
    return () => {
      if (!held) return
      held = false
      this.#use(wish, -1)
      this.#grantWhatFits()
    }
  }

  #use({ hosts, slots }: Wish, sign: 1 | -1): void {
    for (const host of hosts) this.#used.set(host, (this.#used.get(host) ?? 0) + sign * slots)
  }
}
