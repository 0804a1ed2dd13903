import type { MoveId } from '../../domain/ids.ts'
import type { MoveRecord, Phase } from '../../domain/move.ts'
import { Slots } from './slots.ts'

/** Moves at once that a host takes part in, as source or target, while their data is shipped. */
export const defaultMovesPerHost = 4

/** One move's, or one group's, place in the queue. */
export interface Place {
  /**
   * Before each phase: waits for the slots unless it has them. From `quiesce` on writers are stopped and nothing waits: what a restart
   * of the control role finds there takes its slots at once. From `activate` on nothing is shipped and they are given back.
   */
  enter(phase: Phase, waits: () => void): Promise<void>
  leave(): void
}

const shipping: readonly Phase[] = ['plan', 'precopy']
const shipped: readonly Phase[] = ['activate', 'retire']

/**
 * Moves wait here for their turn, by the time they were started: none holds one host while it waits for the other. A pull by a Mount,
 * which keeps a container from starting, has as many slots of its own and waits behind other pulls only.
 */
export class MoveQueue {
  readonly #moves: Slots
  readonly #pulls: Slots

  constructor(perHost: number) {
    this.#moves = new Slots(perHost)
    this.#pulls = new Slots(perHost)
  }

  /** How many are before it, or null when it does not wait. */
  before(id: MoveId): number | null {
    for (const slots of [this.#moves, this.#pulls]) {
      const index = slots.waiting().findIndex((order) => order.endsWith(` ${id}`))
      if (index >= 0) return index
    }
    return null
  }

  /** @param moves those of one group, of one source and one target; a slot for each, as far as a host has them */
  place(moves: readonly [MoveRecord, ...MoveRecord[]], signal: AbortSignal): Place {
    const [first] = moves
    const slots = first.request.onlyIdle ? this.#pulls : this.#moves
    const wish = {
      hosts: [...new Set([first.sourceHostId, first.targetHostId])],
      slots: moves.length,
      order: `${first.startedAt} ${first.id}`,
    }
    let giveBack: (() => void) | null = null
    const leave = () => {
      giveBack?.()
      giveBack = null
    }
    return {
      leave,
      enter: async (phase, waits) => {
        if (shipped.includes(phase)) return leave()
        if (giveBack !== null) return
        if (!shipping.includes(phase)) {
          giveBack = slots.take(wish)
          return
        }
        const granted = slots.acquire(wish, signal)
        if (this.before(first.id) !== null) waits()
        giveBack = await granted
      },
    }
  }
}
