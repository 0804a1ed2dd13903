import type { MoveId } from '../domain/ids.ts'

/** The round under way, in memory only: the journal has what must survive. */
export interface RoundProgress {
  /** Counted from 1. */
  readonly round: number
  readonly bytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
  readonly remainingMs: number | null
}

export class ProgressBoard {
  readonly #rounds = new Map<MoveId, RoundProgress>()
  readonly #waits = new Map<MoveId, string>()

  get(id: MoveId): RoundProgress | null {
    return this.#rounds.get(id) ?? null
  }

  set(id: MoveId, round: number, bytes: number, totalBytes: number, ms: number): void {
    const bytesPerSecond = ms > 0 ? Math.round((bytes / ms) * 1000) : 0
    const left = Math.max(totalBytes - bytes, 0)
    const remainingMs = bytesPerSecond > 0 ? Math.round((left / bytesPerSecond) * 1000) : null
    this.#rounds.set(id, { round, bytes, totalBytes, bytesPerSecond, remainingMs })
  }

  /** What the move waits for now, in words; null: nothing. */
  waitsFor(id: MoveId): string | null {
    return this.#waits.get(id) ?? null
  }

  wait(id: MoveId, what: string | null): void {
    if (what === null) this.#waits.delete(id)
    else this.#waits.set(id, what)
  }

  clear(id: MoveId): void {
    this.#rounds.delete(id)
    this.#waits.delete(id)
  }
}
