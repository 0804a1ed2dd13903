import type { ContainerRuntime } from '../containers/runtime.ts'
import { holdsVolume } from '../containers/runtime.ts'
import type { Epoch } from '../domain/dataset.ts'
import { asDroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { CatalogEntry, CatalogTable } from './catalog.ts'
import type { Held, VolumeHost } from './host.ts'

/** A copy of this host that was the owner's, and is so no more. */
export interface Fenced {
  readonly volumeId: VolumeId
  readonly name: string
  /** Of this copy, and at which it is owned elsewhere. */
  readonly epoch: Epoch
  readonly ownedAt: Epoch
  readonly owner: string
  /** Containers that still run on it: they write to a copy that counts for nothing, and somebody has to stop them. */
  readonly running: readonly string[]
}

/**
 * A host that lost ownership while it was away hears of it with the table of names: an owner elsewhere at a higher epoch. Its copy becomes
 * `diverged`: never mounted again, never overwritten, never removed by Drover.
 */
export class Fence {
  readonly #host: VolumeHost
  readonly #runtime: ContainerRuntime
  /** What was looked at already: a table comes with every change of any volume. */
  readonly #heeded = new Map<VolumeId, string>()

  constructor(host: VolumeHost, runtime: ContainerRuntime) {
    this.#host = host
    this.#runtime = runtime
  }

  /** The table is of the newest store that this host knows. Resolves with what was fenced now. */
  async heed(table: CatalogTable): Promise<Fenced[]> {
    const fenced: Fenced[] = []
    for (const entry of table.entries) {
      if (entry.unknown === true || entry.ownerHostId === this.#host.identity.hostId) continue
      const mark = `${entry.ownerHostId} ${entry.epoch}`
      if (this.#heeded.get(entry.id) === mark) continue
      const found = await this.#heed(entry)
      this.#heeded.set(entry.id, mark)
      fenced.push(...found)
    }
    return fenced
  }

  #heed(entry: CatalogEntry): Promise<Fenced[]> {
    return this.#host.locks.run(entry.id, async () => {
      const fenced: Fenced[] = []
      for (const held of await this.#host.copies(entry.id)) {
        const found = await this.#heedIn(held, entry)
        if (found !== null) fenced.push(found)
      }
      return fenced
    })
  }

  async #heedIn({ record, backend }: Held, entry: CatalogEntry): Promise<Fenced | null> {
    const { hostId, clusterId } = this.#host.identity
    if (record.hostId !== hostId || record.clusterId !== clusterId) return null
    if ((record.role !== 'owner' && record.role !== 'sealed') || record.epoch >= entry.epoch) return null
    await backend.writeRecord({
      ...record,
      role: 'diverged',
      moveId: null,
      seen: Math.max(record.seen, entry.epoch),
    })
    const running = await this.#running(record.name)
    const { name, ownerHost: owner } = entry
    this.#host.logger.error(
      { volume: name, epoch: record.epoch, owner, ownedAt: entry.epoch, running },
      'this copy is superseded: fenced and kept as diverged; stop the containers that still run on it',
    )
    return { volumeId: entry.id, name, epoch: record.epoch, ownedAt: entry.epoch, owner, running }
  }

  async #running(name: string): Promise<string[]> {
    try {
      return (await this.#runtime.usersOf(name)).filter(holdsVolume).map((use) => use.name)
    } catch (error) {
      return [`unknown, the engine does not tell: ${asDroverError(error).message}`]
    }
  }
}
