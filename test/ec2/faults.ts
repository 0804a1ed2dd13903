import type { RandomFaults } from './random-faults.ts'

/**
 * `lost reply`: done, and the connection is cut instead of an answer; `lost request`: cut before anything is done; `throttled`; `failing`: AWS's
 * InternalError; `denied`: the role may not; `damaged`: a bit of the bytes that are answered is another; `slow`: so many milliseconds more before
 * anything is done; `late`: so many before what was done is answered.
 */
export type FaultKind =
  | 'lost reply'
  | 'lost request'
  | 'throttled'
  | 'failing'
  | 'denied'
  | 'damaged'
  | { readonly slowMs: number }
  | { readonly lateMs: number }

export interface Fault {
  /** Default: whatever comes. */
  readonly action?: string
  readonly kind: FaultKind
  /** Default: once. */
  readonly times?: number
}

/** What goes wrong next, in the order in which it was asked for; else what comes by itself. */
export class Faults {
  /** Null: nothing goes wrong by itself. */
  readonly random: RandomFaults | null
  #waiting: { action: string | null; kind: FaultKind; left: number }[] = []

  constructor(random: RandomFaults | null = null) {
    this.random = random
  }

  add({ action, kind, times = 1 }: Fault): void {
    this.#waiting.push({ action: action ?? null, kind, left: times })
  }

  take(action: string): FaultKind | null {
    const found = this.#waiting.find((each) => each.action === null || each.action === action)
    if (found === undefined) return this.random?.call(action) ?? null
    found.left -= 1
    if (found.left === 0) this.#waiting = this.#waiting.filter((each) => each !== found)
    return found.kind
  }

  clear(): void {
    this.#waiting = []
  }
}
