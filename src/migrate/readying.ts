import type { SnapshotFacet } from '../backends/backend.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'

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
    for (const name of names) {
      const isReady = this.#prefetch(facet, id, name).then(() => true)
      const enough = new AbortController()
      const late = this.#clock.sleep(Math.max(0, until - this.#clock.monotonic()), enough.signal).then(() => false)
      late.catch(() => {})
      try {
        if (!(await Promise.race([isReady, late]))) return false
      } finally {
        enough.abort()
      }
    }
    return true
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
