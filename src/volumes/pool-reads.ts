import type { Backend } from '../backends/backend.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'

/** A read of a record is one small file's; a pool that takes longer has a disk that hangs. */
const poolPatienceMs = 3_000

/**
 * Records read from a host's pools, one read a pool at a time: a read that hangs keeps one of the few threads that files are read by, and
 * reads that would only wait behind it must not take the rest, which other pools need. Whoever comes while it hangs shares its answer.
 */
export class PoolReads {
  readonly #clock: Clock
  readonly #reading = new Map<Backend, { readonly since: number; readonly ended: Promise<unknown> }>()
  /** Where something of a volume was seen, and not seen gone since. In memory: a restart begins anew. */
  readonly #seen = new Map<VolumeId, Set<Backend>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws POOL_UNREACHABLE when the pool does not answer, whatever the pool throws */
  async read(backend: Backend, id: VolumeId): Promise<DatasetRecord | null> {
    for (let before = this.#reading.get(backend); before !== undefined; before = this.#reading.get(backend)) {
      await this.#within(backend, before.ended, before.since)
    }
    const since = this.#clock.monotonic()
    const read = backend.readRecord(id)
    const ended = read.then(
      (record) => {
        this.#reading.delete(backend)
        // Noted also when nobody waits any more: that a copy is there makes us only more careful.
        if (record !== null) this.note(backend, id)
      },
      () => this.#reading.delete(backend),
    )
    this.#reading.set(backend, { since, ended })
    await this.#within(backend, ended, since)
    const record = await read
    if (record === null) this.#seen.get(id)?.delete(backend)
    return record
  }

  note(backend: Backend, id: VolumeId): void {
    const seen = this.#seen.get(id) ?? new Set()
    this.#seen.set(id, seen.add(backend))
  }

  hasSeen(backend: Backend, id: VolumeId): boolean {
    return this.#seen.get(id)?.has(backend) ?? false
  }

  async #within(backend: Backend, ended: Promise<unknown>, since: number): Promise<void> {
    const stop = new AbortController()
    const leftMs = Math.max(since + poolPatienceMs - this.#clock.monotonic(), 0)
    const late = this.#clock.sleep(leftMs, stop.signal).then(
      () => true,
      () => false,
    )
    const isLate = await Promise.race([ended.then(() => false), late])
    stop.abort()
    if (!isLate) return
    throw new DroverError(
      'POOL_UNREACHABLE',
      `pool ${backend.spec.text} does not answer; see its disk and the kernel's log`,
    )
  }
}
