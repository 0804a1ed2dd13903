import { DroverError } from '../../src/domain/errors.ts'
import type { EventLoop } from './event-loop.ts'
import type { Kernel } from './kernel.ts'
import { Violation } from './ledger.ts'
import type { Dataset } from './memory-pool.ts'
import type { Random } from './random.ts'

interface Disk {
  /** Names of the pools whose machines have it attached: one at most. */
  readonly holders: Set<string>
  isDetaching: boolean
}

const [quickMs, stuckMs] = [6_000, 150_000]
/** A detach waits until nobody has it mounted, and looks again so often. */
const lookMs = 500

/**
 * Storage that all machines reach, as EBS is: each live dataset is a disk that is attached to one machine, and detached in its own time, at times
 * in very long. It outlives every machine.
 */
export class SharedDisks {
  /** A lie that it tells, for tests of the simulation itself: nobody detaches, and two may have it. */
  lets2HaveIt = false
  readonly #disks = new Map<Dataset, Disk>()
  readonly #kernels = new Map<string, Kernel>()
  readonly #loop: EventLoop
  readonly #random: Random

  constructor(loop: EventLoop, random: Random) {
    this.#loop = loop
    this.#random = random
  }

  join(pool: string, kernel: Kernel): void {
    this.#kernels.set(pool, kernel)
  }

  /** A new one, made where it is attached. */
  made(dataset: Dataset, pool: string): void {
    if (!this.#disks.has(dataset)) this.#disks.set(dataset, { holders: new Set([pool]), isDetaching: false })
  }

  /** Null: there is none. */
  find(uuid: string): Dataset | null {
    return [...this.#disks.keys()].find((dataset) => dataset.uuid === uuid) ?? null
  }

  has(dataset: Dataset): boolean {
    return this.#disks.has(dataset)
  }

  isAttached(dataset: Dataset, pool: string): boolean {
    return this.#disks.get(dataset)?.holders.has(pool) ?? false
  }

  /** Null: nobody has it. */
  holder(dataset: Dataset): string | null {
    return [...(this.#disks.get(dataset)?.holders ?? [])][0] ?? null
  }

  /** @throws VOLUME_BUSY, DATASET_MISSING */
  attach(dataset: Dataset, pool: string): void {
    const disk = this.#must(dataset)
    if (disk.holders.has(pool)) return
    if (disk.holders.size > 0 && !this.lets2HaveIt) {
      throw new DroverError('VOLUME_BUSY', `disk ${dataset.uuid} is attached at ${this.holder(dataset)}`)
    }
    disk.holders.add(pool)
    if (disk.holders.size > 1)
      this.#loop.fail(new Violation(`attached to two hosts: ${[...disk.holders].join(' and ')}`))
  }

  /** Begins: it is over when nobody has it mounted there, and sooner or later. */
  detach(dataset: Dataset, pool: string): void {
    const disk = this.#must(dataset)
    if (!disk.holders.has(pool) || disk.isDetaching || this.lets2HaveIt) return
    disk.isDetaching = true
    const ms = this.#random.chance(0.85) ? this.#random.between(300, quickMs) : this.#random.between(quickMs, stuckMs)
    this.#loop.after(ms, () => this.#end(dataset, disk, pool))
  }

  /** At once, whoever has it mounted there. */
  force(dataset: Dataset, pool: string): void {
    const disk = this.#must(dataset)
    if (disk.holders.delete(pool)) disk.isDetaching = false
  }

  /** What it holds is lost. @throws VOLUME_BUSY when another machine has it */
  remove(dataset: Dataset, pool: string): void {
    const holder = this.holder(dataset)
    if (holder !== null && holder !== pool) {
      throw new DroverError('VOLUME_BUSY', `disk ${dataset.uuid} is attached at ${holder}`)
    }
    this.#disks.delete(dataset)
  }

  #end(dataset: Dataset, disk: Disk, pool: string): void {
    if (!disk.isDetaching || !disk.holders.has(pool)) return
    const isMounted = this.#kernels.get(pool)?.mounts.some((mount) => mount.dataset === dataset)
    if (isMounted === true) this.#loop.after(lookMs, () => this.#end(dataset, disk, pool))
    else this.force(dataset, pool)
  }

  #must(dataset: Dataset): Disk {
    const disk = this.#disks.get(dataset)
    if (disk !== undefined) return disk
    throw new DroverError('DATASET_MISSING', `there is no disk ${dataset.uuid}; nothing was made in its place`)
  }
}
