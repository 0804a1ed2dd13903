import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'

/**
 * Docker's mount ids by volume. A hint and no more: engines lose Unmounts and repeat ids, so /proc decides. It covers the
 * moment between our answer to Mount and the container's own mount of the path.
 */
export class MountLedger {
  readonly #clock: Clock
  readonly #mounts = new Map<VolumeId, Map<string, number>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  add(id: VolumeId, caller: string): void {
    const callers = this.#mounts.get(id) ?? new Map<string, number>()
    callers.set(caller, this.#clock.monotonic())
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

  /** Some Mount was answered within the last `ms`, and no Unmount came for it. */
  answeredWithin(id: VolumeId, ms: number): boolean {
    const since = this.#clock.monotonic() - ms
    return [...(this.#mounts.get(id)?.values() ?? [])].some((at) => at >= since)
  }

  isEmpty(id: VolumeId): boolean {
    return !this.#mounts.has(id)
  }
}
