import type { SnapshotFacet } from '../backends/backend.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import { within } from '../lib/deadline.ts'

/** Snapshots that are being made ready to be read. Who does not wait for it asks again, and joins what was begun. */
export class Readying {
  readonly #clock: Clock
  readonly #begun = new Map<string, Promise<void>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Each after the one before, upon which it may be made ready. False: they are not within that time. @throws what `prefetch` throws */
  async within(ms: number, facet: SnapshotFacet, id: VolumeId, names: readonly string[]): Promise<boolean> {
    const until = this.#clock.monotonic() + ms
    const late = new Error('not ready yet')
    try {
      for (const name of names) {
        const leftMs = Math.max(0, until - this.#clock.monotonic())
        await within(this.#clock, leftMs, this.#prefetch(facet, id, name), () => late)
      }
      return true
    } catch (error) {
      if (error !== late) throw error
      return false
    }
  }

  #prefetch(facet: SnapshotFacet, id: VolumeId, name: string): Promise<void> {
    if (facet.prefetch === undefined) return Promise.resolve()
    const key = `${id}/${name}`
    const begun = this.#begun.get(key)
    if (begun !== undefined) return begun
    const work = facet.prefetch(id, name).finally(() => this.#begun.delete(key))
    // Nobody may be waiting when it fails; who asks again is told by the next try.
    work.catch(() => {})
    this.#begun.set(key, work)
    return work
  }
}
