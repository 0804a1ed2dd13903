import type { Clock } from '../../../../lib/clock.ts'
import type { SnapshotPair } from './lists.ts'

/** So often a stream of one pair is read by the direct API within this time. */
const mostTries = 2
const withinMs = 10 * 60_000

/**
 * Who sends a stream does so in a process of its own, and why one broke is not told here. One that is asked for again and again may break for what its
 * first block does not show, such as a block that is damaged where it lies: it is read from volumes then.
 */
export class StreamTries {
  readonly #clock: Clock
  readonly #begun = new Map<string, readonly number[]>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** False: not by the direct API for now. */
  another({ snapshotId, baseSnapshotId }: SnapshotPair): boolean {
    const now = this.#clock.monotonic()
    for (const [pair, times] of this.#begun) {
      if (times.every((at) => now - at > withinMs)) this.#begun.delete(pair)
    }
    const pair = `${snapshotId} ${baseSnapshotId}`
    const lately = (this.#begun.get(pair) ?? []).filter((at) => now - at <= withinMs)
    if (lately.length >= mostTries) return false
    this.#begun.set(pair, [...lately, now])
    return true
  }
}
