import type { Backend } from '../backends/backend.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'

/** A read of a record is one small file's; a pool that takes longer has a disk that hangs. */
const poolPatienceMs = 3_000
/** A list is a read for each volume. */
const listPatienceMs = 20_000

interface Reading {
  /** By the monotonic clock: later than this it hangs. */
  readonly lateAt: number
  /** Never rejects. */
  readonly ended: Promise<unknown>
  /** Somebody has waited for so long. */
  isLate: boolean
}

/**
 * Records read from a host's pools, one read and one list a pool at a time: a read that hangs keeps one of the few threads that files are read by, and
 * reads that would only wait behind it must not take the rest, which other pools need. Whoever comes while it hangs shares its answer.
 */
export class PoolReads {
  readonly #clock: Clock
  readonly #reading = new Map<Backend, Reading>()
  readonly #listing = new Map<Backend, Reading>()
  /** Where something of a volume was seen, and not seen gone since. In memory: a restart begins anew. */
  readonly #seen = new Map<VolumeId, Set<Backend>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** @throws POOL_UNREACHABLE when the pool does not answer, whatever the pool throws */
  async read(backend: Backend, id: VolumeId): Promise<DatasetRecord | null> {
    for (let before = this.#reading.get(backend); before !== undefined; before = this.#reading.get(backend)) {
      await this.#within(backend, before)
    }
    // A list takes its time and is not waited for, unless it hangs.
    if (this.#listing.get(backend)?.isLate === true) throw unanswered(backend)
    const read = backend.readRecord(id)
    const ended = read.then(
      (record) => {
        this.#reading.delete(backend)
        // Noted also when nobody waits any more: that a copy is there makes us only more careful.
        if (record !== null) this.note(backend, id)
      },
      () => this.#reading.delete(backend),
    )
    const reading = { lateAt: this.#clock.monotonic() + poolPatienceMs, ended, isLate: false }
    this.#reading.set(backend, reading)
    await this.#within(backend, reading)
    const record = await read
    if (record === null) this.#seen.get(id)?.delete(backend)
    return record
  }

  /** What is on the pool, not read before it was asked for. @throws POOL_UNREACHABLE, whatever the pool throws */
  async list(backend: Backend): ReturnType<Backend['list']> {
    if (this.#reading.get(backend)?.isLate === true) throw unanswered(backend)
    for (let before = this.#listing.get(backend); before !== undefined; before = this.#listing.get(backend)) {
      await this.#within(backend, before)
    }
    const list = backend.list()
    const ended = list.then(
      () => this.#listing.delete(backend),
      () => this.#listing.delete(backend),
    )
    const listing = { lateAt: this.#clock.monotonic() + listPatienceMs, ended, isLate: false }
    this.#listing.set(backend, listing)
    await this.#within(backend, listing)
    return list
  }

  note(backend: Backend, id: VolumeId): void {
    const seen = this.#seen.get(id) ?? new Set()
    this.#seen.set(id, seen.add(backend))
  }

  hasSeen(backend: Backend, id: VolumeId): boolean {
    return this.#seen.get(id)?.has(backend) ?? false
  }

  async #within(backend: Backend, reading: Reading): Promise<void> {
    const stop = new AbortController()
    const late = this.#clock.sleep(Math.max(reading.lateAt - this.#clock.monotonic(), 0), stop.signal).then(
      () => true,
      () => false,
    )
    const isLate = await Promise.race([reading.ended.then(() => false), late])
    stop.abort()
    if (!isLate) return
    reading.isLate = true
    throw unanswered(backend)
  }
}

const unanswered = (backend: Backend): DroverError =>
  new DroverError('POOL_UNREACHABLE', `pool ${backend.spec.text} does not answer; see its disk and the kernel's log`)
