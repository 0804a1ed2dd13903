interface Due {
  readonly at: number
  readonly order: number
  run: (() => void) | null
}

/**
 * Simulated time. Events run one after the other in the order of their times; between two of them everything that promises have
 * still to do is done. Nothing else may wait for anything, so a run depends on nothing but what is scheduled.
 */
export class EventLoop {
  /** Milliseconds since the simulation began. */
  now = 0
  /** Events that have run. */
  ran = 0
  readonly #heap: Due[] = []
  #order = 0
  #failure: unknown = null

  /** @returns takes it back */
  after(ms: number, run: () => void): () => void {
    const due: Due = { at: this.now + Math.max(0, ms), order: this.#order++, run }
    this.#push(due)
    return () => {
      due.run = null
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve))
  }

  /** Ends the run: what must hold did not. */
  fail(reason: unknown): void {
    this.#failure ??= reason
  }

  /** Runs events until `done`, or none is left. Rejects with what `fail` was told. */
  run(done: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const step = () => {
        try {
          if (this.#failure !== null) return reject(this.#failure)
          if (done()) return resolve()
          const due = this.#pop()
          if (due === undefined) return resolve()
          if (due.run !== null) {
            this.now = due.at
            this.ran += 1
            due.run()
          }
        } catch (error) {
          return reject(error)
        }
        // A tick that was asked for in a microtask comes when no microtask is left.
        queueMicrotask(() => process.nextTick(step))
      }
      process.nextTick(step)
    })
  }

  #push(due: Due): void {
    const heap = this.#heap
    let at = heap.push(due) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || isBefore(parent, due)) break
      heap[at] = parent
      at = above
    }
    heap[at] = due
  }

  #pop(): Due | undefined {
    const heap = this.#heap
    const first = heap[0]
    const last = heap.pop()
    if (first === undefined || last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let below = at * 2 + 1
      let child = heap[below]
      if (child === undefined) break
      const right = heap[below + 1]
      if (right !== undefined && isBefore(right, child)) {
        child = right
        below += 1
      }
      if (isBefore(last, child)) break
      heap[at] = child
      at = below
    }
    heap[at] = last
    return first
  }
}

const isBefore = (one: Due, other: Due): boolean =>
  one.at < other.at || (one.at === other.at && one.order < other.order)
