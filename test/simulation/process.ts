import type { Clock } from '../../src/lib/clock.ts'
import type { EventLoop } from './event-loop.ts'
import type { Random } from './random.ts'

export type Moment = 'before' | 'during' | 'after'

/** What befalls a step: the process dies before, during or after it, or the step fails. */
export interface Fate {
  readonly moment: Moment
  /** Ends this process, or another one. */
  strike(): void
}

/** Told of every step that changes something outside the process. */
export interface Steps {
  reach(process: SimProcess, what: string, mayFail: boolean): Fate | Error | null
}

const never = new Promise<never>(() => {})

/**
 * One life of a `vold`. What it wants of the world outside goes through here, so that it can end at any such step: a process that has
 * ended gets no answer any more, and does nothing more. A command that it had started may still do its work.
 */
export class SimProcess {
  alive = true
  readonly name: string
  readonly loop: EventLoop
  readonly random: Random
  readonly #steps: Steps
  readonly #whenEnded = new Set<() => void>()

  constructor(name: string, loop: EventLoop, random: Random, steps: Steps) {
    this.name = name
    this.loop = loop
    this.random = random
    this.#steps = steps
  }

  end(): void {
    if (!this.alive) return
    this.alive = false
    for (const tell of this.#whenEnded) tell()
    this.#whenEnded.clear()
  }

  /** @returns no longer wants to be told */
  whenEnded(tell: () => void): () => void {
    this.#whenEnded.add(tell)
    return () => this.#whenEnded.delete(tell)
  }

  /** Reads something. */
  look<T>(effect: () => T): Promise<T> {
    if (!this.alive) return never
    return new Promise((resolve, reject) => {
      this.loop.after(this.random.next() * 2, () => {
        if (!this.alive) return
        try {
          resolve(effect())
        } catch (error) {
          reject(error)
        }
      })
    })
  }

  /** Changes something, at one instant. `mayFail`: the command may as well be refused by the system. */
  change<T>(what: string, effect: () => T, mayFail = false): Promise<T> {
    if (!this.alive) return never
    const fate = this.#steps.reach(this, what, mayFail)
    if (fate instanceof Error) return this.#refuse(fate)
    if (fate?.moment === 'before') {
      fate.strike()
      if (!this.alive) return never
    }
    return new Promise((resolve, reject) => {
      const ms = 0.2 + this.random.next() * 5
      let orphan = false
      if (fate?.moment === 'during') {
        orphan = this.random.chance(0.5)
        this.loop.after(ms / 2, () => fate.strike())
      }
      this.loop.after(ms, () => {
        if (!this.alive && !orphan) return
        try {
          const result = effect()
          if (fate?.moment === 'after') fate.strike()
          if (this.alive) resolve(result)
        } catch (error) {
          if (this.alive) reject(error)
        }
      })
    })
  }

  /** Asks somebody else, who goes on with it when this process has ended. */
  async ask<T>(what: string, work: () => Promise<T>, mayFail = false): Promise<T> {
    if (!this.alive) return never
    const fate = this.#steps.reach(this, what, mayFail)
    if (fate instanceof Error) return this.#refuse(fate)
    if (fate?.moment === 'before') {
      fate.strike()
      if (!this.alive) return never
    }
    if (fate?.moment === 'during') this.loop.after(this.random.next() * 40, () => fate.strike())
    try {
      return await work()
    } finally {
      if (fate?.moment === 'after') fate.strike()
      if (!this.alive) await never
    }
  }

  clock(now: () => number): Clock {
    return {
      now,
      monotonic: () => this.loop.now,
      sleep: (ms, signal) => {
        if (!this.alive) return never
        return new Promise((resolve, reject) => {
          if (signal?.aborted) return reject(signal.reason)
          const onAbort = () => {
            takeBack()
            if (this.alive) reject(signal?.reason)
          }
          const takeBack = this.loop.after(ms, () => {
            signal?.removeEventListener('abort', onAbort)
            if (this.alive) resolve()
          })
          signal?.addEventListener('abort', onAbort, { once: true })
        })
      },
    }
  }

  #refuse(error: Error): Promise<never> {
    return new Promise((_, reject) => {
      this.loop.after(this.random.next() * 5, () => {
        if (this.alive) reject(error)
      })
    })
  }
}
