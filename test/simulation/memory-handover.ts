import type { Handover, HandoverFacet, LiveDataset } from '../../src/backends/backend.ts'
import { DroverError, hasCode } from '../../src/domain/errors.ts'
import type { VolumeId } from '../../src/domain/ids.ts'
import type { Clock } from '../../src/lib/clock.ts'
import type { Kernel } from './kernel.ts'
import type { Hand } from './memory-backend.ts'
import { type Dataset, describe, type MemoryPool, type VolumeDirectory } from './memory-pool.ts'
import type { SharedDisks } from './shared-disks.ts'

interface Parts {
  readonly pool: MemoryPool
  readonly disks: SharedDisks
  readonly kernel: Kernel
  readonly hand: Hand
  readonly clock: Clock
}

/** As EBS has them (src/backends/block/ebs/passing.ts). */
const mostMs = { detach: 80_000, giveUpTaking: 20_000, force: 60_000 }
const lookMs = 1_000

/** Live datasets that go from one machine to another by a detach and an attach: the notes of EBS, and what it does with them, in memory. */
export class MemoryHandover implements HandoverFacet {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async reach(): Promise<string> {
    return 'the shared disks'
  }

  async place(): Promise<string> {
    return this.#parts.pool.name
  }

  describe(id: VolumeId, to: string | null): Promise<Handover> {
    return this.#change('describe', id, (directory, { uuid }) => {
      directory.handedTo = to
      return { live: { uuid }, storage: null }
    })
  }

  async letGo(id: VolumeId): Promise<void> {
    const { disks, kernel, pool, hand } = this.#parts
    const live = await this.#change('leave', id, (directory, dataset) => {
      directory.passing = 'leaving'
      return dataset
    })
    const detach = () => {
      if (kernel.mounts.some(({ dataset }) => dataset === live)) throw busy(`volume ${id} is mounted`)
      disks.detach(live, pool.name)
    }
    await hand.change('handover.detach', detach, true)
    await this.#untilFree(live, pool.name, mostMs.detach)
  }

  expect(id: VolumeId, { live: told }: Handover): Promise<LiveDataset> {
    const { disks, pool, hand } = this.#parts
    return hand.change(
      'handover.expect',
      () => {
        const dataset = disks.find((told as { uuid: string }).uuid)
        const directory = pool.volumes.get(id)
        if (dataset === null || directory === undefined) throw missing(id)
        if (directory.live !== null && directory.live !== dataset) {
          throw new DroverError('DIVERGED', `volume ${id} has another live dataset here; both are left alone`)
        }
        if (directory.live === null) {
          Object.assign(directory, { live: dataset, passing: 'arriving', isTaken: false })
          pool.commit()
        }
        return describe(dataset)
      },
      true,
    )
  }

  async take(id: VolumeId): Promise<void> {
    const { disks, pool, hand } = this.#parts
    if ((await this.#passing(id)) === null) return
    const live = await this.#change('taken', id, (directory, dataset) => {
      directory.isTaken = true
      return dataset
    })
    try {
      await hand.change('handover.attach', () => disks.attach(live, pool.name), true)
    } catch (error) {
      await this.#giveUp(id, mostMs.giveUpTaking).catch(() => undefined)
      throw error
    }
  }

  /** The owner's: nothing of it is on its way any more. */
  async keep(id: VolumeId): Promise<void> {
    if ((await this.#passing(id)) === null) return
    await this.#change('keep', id, (directory) => Object.assign(directory, { passing: null, isTaken: false }))
  }

  /** The notes of a live dataset that is on its way; any other is left as it is. */
  async forget(id: VolumeId): Promise<void> {
    if ((await this.#passing(id)) === null) return
    await this.#giveUp(id, mostMs.detach)
    await this.#change('forget', id, (directory) => {
      if (directory.passing === null) return
      Object.assign(directory, { live: null, passing: null, isTaken: false })
    })
  }

  async reclaim(id: VolumeId): Promise<void> {
    const { disks, pool, hand } = this.#parts
    const { live, gone } = await this.#look(id, ({ handedTo }, dataset) => ({ live: dataset, gone: handedTo ?? null }))
    if (gone === null) return
    if (await hand.look(() => disks.isAttached(live, gone))) {
      await hand.change('handover.evict', () => disks.detach(live, gone))
      try {
        await this.#untilFree(live, gone, mostMs.detach)
      } catch (error) {
        if (!hasCode(error, 'TIMED_OUT')) throw error
        await hand.change('handover.force', () => disks.force(live, gone))
      }
    }
    await this.#change('reclaim', id, (directory) => {
      disks.attach(live, pool.name)
      directory.handedTo = null
    })
  }

  /** Before it is mounted. @throws VOLUME_BUSY */
  async attach(id: VolumeId): Promise<void> {
    const { disks, pool, hand } = this.#parts
    const { live, isHere } = await this.#look(id, ({ passing }, dataset) => {
      if (passing != null) throw busy(`volume ${id} is on its way between two hosts`)
      return { live: dataset, isHere: disks.isAttached(dataset, pool.name) }
    })
    if (!isHere) await hand.change('handover.attach', () => disks.attach(live, pool.name))
  }

  async #giveUp(id: VolumeId, timeoutMs: number): Promise<void> {
    const { disks, pool, hand } = this.#parts
    const live = await this.#look(id, ({ passing, isTaken }, dataset) =>
      passing === 'arriving' && isTaken === true && disks.isAttached(dataset, pool.name) ? dataset : null,
    )
    if (live === null) return
    await hand.change('handover.giveUp', () => disks.detach(live, pool.name))
    await this.#untilFree(live, pool.name, timeoutMs)
  }

  async #untilFree(live: Dataset, holder: string, timeoutMs: number): Promise<void> {
    const { disks, clock, hand, pool } = this.#parts
    const endsAt = clock.monotonic() + timeoutMs
    while (await hand.look(() => disks.isAttached(live, holder))) {
      if (disks.lets2HaveIt) return
      if (clock.monotonic() > endsAt) {
        throw new DroverError('TIMED_OUT', `disk ${live.uuid} did not detach from ${holder}, says ${pool.name}`)
      }
      await clock.sleep(lookMs)
    }
  }

  #passing(id: VolumeId): Promise<VolumeDirectory['passing'] | null> {
    const { pool, hand } = this.#parts
    return hand.look(() => {
      const directory = pool.volumes.get(id)
      return directory?.live == null ? null : (directory.passing ?? null)
    })
  }

  #look<T>(id: VolumeId, read: (directory: VolumeDirectory, live: Dataset) => T): Promise<T> {
    return this.#parts.hand.look(() => read(...this.#must(id)))
  }

  /** Noted durably. */
  #change<T>(what: string, id: VolumeId, act: (directory: VolumeDirectory, live: Dataset) => T): Promise<T> {
    return this.#parts.hand.change(`handover.${what}`, () => {
      const result = act(...this.#must(id))
      this.#parts.pool.commit()
      return result
    })
  }

  #must(id: VolumeId): [VolumeDirectory, Dataset] {
    const directory = this.#parts.pool.volumes.get(id)
    if (directory?.live == null) throw missing(id)
    return [directory, directory.live]
  }
}

const missing = (id: string): DroverError =>
  new DroverError('DATASET_MISSING', `volume ${id} has no such dataset on this pool`)

const busy = (text: string): DroverError => new DroverError('VOLUME_BUSY', `${text}; it is left alone`)
