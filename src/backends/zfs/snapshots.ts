import type { SnapshotRecord } from '../../domain/dataset.ts'
import type { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { SnapshotFacet } from '../backend.ts'
import { type FoundSnapshot, type Inventory, inventoryOf } from './inventory.ts'
import type { LiveDatasets } from './live-datasets.ts'
import type { Mounting } from './mounting.ts'
import { checkName, internalPrefix, type Names } from './names.ts'
import { wholeNumber } from './parse.ts'
import type { PrivateMounts } from './private-mounts.ts'
import type { Trash } from './trash.ts'
import { hasDependents, holdTag, missing, type ZfsCommand } from './zfs-command.ts'

interface Parts {
  readonly names: Names
  readonly command: ZfsCommand
  readonly mounting: Mounting
  readonly privateMounts: PrivateMounts
  readonly live: LiveDatasets
  readonly trash: Trash
}

/**
 * A snapshot of ZFS cannot be changed, and its guid is the same on every host that received it: that is its identity here and in a
 * stream. Drover's hold keeps others from destroying it, and a bookmark beside it serves as the base of a stream all the same when
 * somebody did.
 */
export class Snapshots implements SnapshotFacet {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async create(id: VolumeId, name: string, origin: SnapshotRecord['origin']): Promise<SnapshotRecord> {
    const { names, command, mounting } = this.#parts
    const live = names.live(id)
    checkName(name)
    const there = await this.#inventory(id)
    const existing = there.snapshots.find((each) => each.name === name)
    if (existing !== undefined) return asRecord(existing, origin)
    if (!there.datasets.includes(live)) throw missing(live)
    const path = await mounting.pathOf(id)
    if (path !== null) await command.syncMount(path)
    // A bookmark of that name is of a snapshot that is gone.
    if (there.bookmarks.some((each) => each.name === name && each.dataset === live)) {
      await command.destroySnapshot(`${live}#${name}`)
    }
    await command.snapshot(`${live}@${name}`)
    await Promise.all([
      command.hold(`${live}@${name}`, holdTag),
      command.bookmark(`${live}@${name}`, `${live}#${name}`),
    ])
    return asRecord((await this.find(id, name)) ?? raise(missing(`${live}@${name}`)), origin)
  }

  async list(id: VolumeId): Promise<SnapshotRecord[]> {
    return (await this.#inventory(id)).snapshots.map((found) => asRecord(found, 'user'))
  }

  /**
   * What was made from it keeps it. A kept file system that was made from it takes over its snapshots; for anything else it goes out of
   * sight, and ends with what it was made for.
   */
  async destroy(id: VolumeId, name: string): Promise<void> {
    const { command, names, trash } = this.#parts
    const there = await this.#inventory(id)
    const found = there.snapshots.find((each) => each.name === name)
    for (const { dataset } of there.bookmarks.filter((each) => each.name === name)) {
      await command.destroySnapshot(`${dataset}#${name}`)
    }
    if (found === undefined) return
    const dataset = await this.#handedOver(id, found, there)
    const path = `${dataset}@${name}`
    await command.release(path, holdTag)
    const isLast = there.snapshots.filter((each) => each.dataset === dataset).length === 1
    if (dataset === found.dataset && dataset !== names.live(id) && isLast && found.clones.length === 0) {
      await trash.put(dataset, `${id}-kept`)
      return
    }
    try {
      await command.destroySnapshot(path)
    } catch (error) {
      if (!hasDependents(error)) throw error
      const hidden = `${dataset}@${internalPrefix}gone-${found.guid}`
      await command.renameSnapshot(path, hidden)
      await command.destroySnapshot(hidden, { whenFree: true })
    }
  }

  async intact(id: VolumeId, recorded: SnapshotRecord): Promise<boolean> {
    const there = await this.#inventory(id)
    const found =
      there.snapshots.find(({ name }) => name === recorded.name) ??
      // Only what is sent can go by a bookmark; what is received upon must be there itself.
      there.bookmarks.find((each) => each.name === recorded.name && each.dataset === this.#parts.names.live(id))
    return found !== undefined && found.guid === recorded.uuid && found.guid === recorded.streamUuid
  }

  async withPath<T>(id: VolumeId, name: string, use: (path: string) => Promise<T>): Promise<T> {
    const found = await this.find(id, name)
    if (found === null) throw missing(`${this.#parts.names.volume(id)}/...@${name}`)
    return this.#parts.privateMounts.with(`${found.dataset}@${found.name}`, { readOnly: true }, use)
  }

  async changedBytes(id: VolumeId, since: SnapshotRecord): Promise<number> {
    const there = await this.#inventory(id)
    const snapshot = there.snapshots.find(({ guid }) => guid === since.uuid)
    if (snapshot !== undefined) return this.#written(id, `${snapshot.dataset}@${snapshot.name}`)
    const bookmark = there.bookmarks.find(({ guid }) => guid === since.uuid)
    if (bookmark !== undefined) return this.#written(id, `#${bookmark.name}`)
    throw missing(`${this.#parts.names.volume(id)}/...@${since.name}`)
  }

  /**
   * Exact as long as nothing was written at all. When something was, it may be no more than the end of a file that was unlinked but
   * open: then the two are compared.
   */
  async unchangedSince(id: VolumeId, name: string): Promise<boolean> {
    const { names, live } = this.#parts
    await live.sync(id)
    const found = await this.find(id, name)
    if (found === null) throw missing(`${names.live(id)}@${name}`)
    if (found.dataset !== names.live(id)) return false
    if ((await this.#written(id, `@${name}`)) === 0) return true
    return (await this.#differences(id, name)).length === 0
  }

  async find(id: VolumeId, name: string): Promise<FoundSnapshot | null> {
    return (await this.#inventory(id)).snapshots.find((each) => each.name === name) ?? null
  }

  async #inventory(id: VolumeId): Promise<Inventory> {
    const { command, names } = this.#parts
    return (await inventoryOf(command, names, id)) ?? nothing
  }

  /** @param since `@name` of the live dataset's own, `#name`, or a whole name of one that it descends from. */
  async #written(id: VolumeId, since: string): Promise<number> {
    const live = this.#parts.names.live(id)
    const property = /^[@#]/.test(since) ? `written${since}` : `written@${since}`
    const found = (await this.#parts.command.get(live, [property]))?.get(live)
    if (found === undefined) throw missing(live)
    return wholeNumber('zfs get written', found.get(property))
  }

  async #differences(id: VolumeId, name: string): Promise<string[]> {
    const { command, names, mounting, privateMounts } = this.#parts
    const live = names.live(id)
    const compare = () => command.differences(`${live}@${name}`, live)
    // The program wants to know where it is mounted, if only to print paths.
    const mounted = (await mounting.pathOf(id)) !== null
    return mounted ? compare() : privateMounts.with(live, { readOnly: true }, compare)
  }

  /** The file system that has the snapshot afterwards. */
  async #handedOver(id: VolumeId, found: FoundSnapshot, there: Inventory): Promise<string> {
    const { command, names, trash } = this.#parts
    const [heir, ...others] = found.clones
    const isNewest = there.snapshots.findLast(({ dataset }) => dataset === found.dataset) === found
    if (heir === undefined || others.length > 0 || !isNewest || found.dataset === names.live(id)) return found.dataset
    if (!names.holdsSnapshots(id, heir)) return found.dataset
    await command.promote(heir)
    await trash.put(found.dataset, `${id}-kept`)
    return heir
  }
}

const nothing: Inventory = { datasets: [], snapshots: [], bookmarks: [], partials: new Map(), isEncrypted: false }

export const asRecord = (found: FoundSnapshot, origin: SnapshotRecord['origin']): SnapshotRecord => ({
  name: found.name,
  uuid: found.guid,
  streamUuid: found.guid,
  generation: found.createdTxg,
  createdAt: found.createdAt,
  origin,
})

const raise = (error: DroverError): never => {
  throw error
}
