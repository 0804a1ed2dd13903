import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'

interface Answered {
  /** Monotonic milliseconds. */
  readonly at: number
  /** Its container was seen to have the volume mounted: from then on /proc alone tells whether it still has. */
  readonly seen: boolean
}

/**
 * Docker's mount ids by volume. A hint and no more: engines lose Unmounts and repeat ids, so /proc decides. It covers the
 * moment between our answer to Mount and the container's own mount of the path.
 */
export class MountLedger {
  readonly #clock: Clock
  readonly #mounts = new Map<VolumeId, Map<string, Answered>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(id: VolumeId, caller: string): void {
    const callers = this.#mounts.get(id) ?? new Map<string, Answered>()
    callers.set(caller, { at: this.#clock.monotonic(), seen: false })
    this.#mounts.set(id, callers)
  }

  remove(id: VolumeId, caller: string): void {
    const callers = this.#mounts.get(id)
    callers?.delete(caller)
    if (callers?.size === 0) this.#mounts.delete(id)
  }

  clear(id: VolumeId): void {
    this.#mounts.delete(id)
  }

  /** So many containers have it mounted now. When that is all there can be, each of them has been seen. */
  saw(id: VolumeId, containers: number): void {
    const callers = this.#mounts.get(id)
    if (callers === undefined || callers.size > containers) return
    for (const [caller, { at }] of callers) callers.set(caller, { at, seen: true })
  }

  /** Some Mount was answered within the last `ms`, no Unmount came for it, and its container was not seen yet. */
  expectedWithin(id: VolumeId, ms: number): boolean {
    const since = this.#clock.monotonic() - ms
    return this.#unseen(id).some(({ at }) => at >= since)
  }

  /** Some Mount was answered whose container was not seen yet. */
  expects(id: VolumeId): boolean {
    return this.#unseen(id).length > 0
  }

  /** The Mount of this very caller: no Unmount came for it, and its container was not seen yet. */
  awaits(id: VolumeId, caller: string): boolean {
    return this.#mounts.get(id)?.get(caller)?.seen === false
  }

  #unseen(id: VolumeId): Answered[] {
    return [...(this.#mounts.get(id)?.values() ?? [])].filter(({ seen }) => !seen)
  }
}
