import type { EventLoop } from './event-loop.ts'
import type { Kernel } from './kernel.ts'
import type { Dataset } from './memory-pool.ts'
import type { Random } from './random.ts'

export interface WriterPlace {
  readonly host: string
  readonly container: string
  readonly volumeId: string
  readonly dataset: Dataset
}

/** Who keeps count of what writers were told is written. */
export interface WriteLedger {
  started(place: WriterPlace): void
  /** The next number of the volume. */
  next(volumeId: string): number
  written(place: WriterPlace, row: number): void
  acknowledged(place: WriterPlace, row: number): void
}

interface WriterWorld {
  readonly loop: EventLoop
  readonly random: Random
  readonly kernel: Kernel
  readonly ledger: WriteLedger
}

export const rowPath = (row: number): string => `data/row-${row}`
const rowBytes = new Uint8Array(64)

/** The program in a container: it writes numbered rows, one after the other, each synced before it counts as written. */
export class Writer {
  readonly #world: WriterWorld
  readonly #place: WriterPlace
  #alive = true
  #frozen = false
  #waiting: (() => void) | null = null

  constructor(world: WriterWorld, place: WriterPlace) {
    this.#world = world
    this.#place = place
    world.ledger.started(place)
    this.#soon(world.random.next() * 50, () => this.#write())
  }

  end(): void {
    this.#alive = false
  }

  freeze(): void {
    this.#frozen = true
  }

  thaw(): void {
    this.#frozen = false
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.()
  }

  #write(): void {
    const { ledger, kernel, random } = this.#world
    const row = ledger.next(this.#place.volumeId)
    this.#soon(random.next() * 4, () => {
      try {
        kernel.poolOf(this.#place.dataset).write(this.#place.dataset, rowPath(row), rowBytes)
      } catch {
        this.#soon(200, () => this.#write())
        return
      }
      ledger.written(this.#place, row)
      this.#soon(random.next() * 2, () => {
        ledger.acknowledged(this.#place, row)
        this.#soon(60 + random.next() * 400, () => this.#write())
      })
    })
  }

  /** Nothing of it happens while it is frozen. */
  #soon(ms: number, work: () => void): void {
    this.#world.loop.after(ms, () => {
      if (!this.#alive) return
      if (this.#frozen) this.#waiting = work
      else work()
    })
  }
}
