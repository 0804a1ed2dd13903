import { createHash } from 'node:crypto'
import { Random } from '../simulation/random.ts'
import type { FaultKind } from './faults.ts'

const ofCalls = ['lost reply', 'lost request', 'throttled', 'failing'] as const
/** What takes time, and at times much more of it: its name, once in so many, and for how many milliseconds more. */
const slow = {
  create: { name: 'slow creating', every: 8, ms: [50, 200] },
  attach: { name: 'slow attaching', every: 8, ms: [100, 300] },
  detach: { name: 'slow detaching', every: 8, ms: [100, 300] },
  snapshot: { name: 'slow snapshot', every: 8, ms: [150, 400] },
} as const
const stuck = { every: 24, ms: [700, 1_200] } as const
const busy = { every: 8, ms: [60, 200] } as const
const stale = { every: 6, ms: [40, 120] } as const
/** A describe is never older by more than this. */
export const mostStaleMs = stale.ms[1]
const callEvery = 25
/** Of these there are thousands. */
const blockEvery = 40

/** Everything that a seed brings, by name. */
export const randomFaultNames: readonly string[] = [
  ...ofCalls,
  ...Object.values(slow).map(({ name }) => name),
  ...['stuck detach', 'busy', 'stale describe'],
]

/**
 * What goes wrong by itself, as a seed has it, and how often it did. Each fault of each call has a course of its own, so that its n-th occasion meets
 * the same whatever else is going on; each comes within the first so many occasions, and again and again.
 */
export class RandomFaults {
  readonly seed: number
  /** How often each was injected; those of calls also as `NAME of ACTION`. */
  readonly injected = new Map<string, number>()
  readonly #courses = new Map<string, { readonly random: Random; left: number }>()

  constructor(seed: number) {
    this.seed = seed
  }

  /** What becomes of a call. */
  call(action: string): FaultKind | null {
    const isOfBlock = /^(Get|Put)SnapshotBlock$/.test(action)
    const kinds: readonly FaultKind[] = action === 'GetSnapshotBlock' ? [...ofCalls, 'damaged'] : ofCalls
    const every = isOfBlock ? blockEvery : callEvery
    const [due = null] = kinds.filter((kind) => this.#isDue(`${kind} of ${action}`, every))
    if (typeof due === 'string') this.#count(due, `${due} of ${action}`)
    return due
  }

  /** Milliseconds more than it takes. */
  slowMs(what: keyof typeof slow): number {
    if (what === 'detach' && this.#isDue('stuck detach', stuck.every)) return this.#take('stuck detach', stuck.ms)
    const { name, every, ms } = slow[what]
    return this.#isDue(name, every) ? this.#take(name, ms) : 0
  }

  /** For how long what is being detached is said to be in use; 0: it is not. */
  busyMs(): number {
    return this.#isDue('busy', busy.every) ? this.#take('busy', busy.ms) : 0
  }

  /** By how much a describe is older than it would be. */
  staleMs(): number {
    return this.#isDue('stale describe', stale.every) ? this.#take('stale describe', stale.ms) : 0
  }

  #take(name: string, [least, most]: readonly [number, number]): number {
    this.#count(name)
    return this.#course(name, 1).random.between(least, most)
  }

  #count(...names: readonly string[]): void {
    for (const name of names) this.injected.set(name, (this.injected.get(name) ?? 0) + 1)
  }

  #isDue(name: string, every: number): boolean {
    const course = this.#course(name, every)
    course.left -= 1
    if (course.left > 0) return false
    course.left = course.random.between(1, 2 * every)
    return true
  }

  #course(name: string, every: number) {
    const known = this.#courses.get(name)
    if (known !== undefined) return known
    const random = new Random(createHash('sha256').update(`${this.seed} ${name}`).digest().readUInt32LE())
    const course = { random, left: random.between(1, every) }
    this.#courses.set(name, course)
    return course
  }
}
