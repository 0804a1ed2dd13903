import { randomBytes } from 'node:crypto'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError, hasCode } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { LiveDataset, NewDataset } from '../backend.ts'
import { inventoryOf } from './inventory.ts'
import type { Mounting } from './mounting.ts'
import { internalPrefix, type Names } from './names.ts'
import { propertiesOf } from './options.ts'
import { guidOf, wholeNumber } from './parse.ts'
import { home } from './pool-check.ts'
import type { PrivateMounts } from './private-mounts.ts'
import { refuseForeign } from './records.ts'
import type { Trash } from './trash.ts'
import { missing, type Properties, type ZfsCommand } from './zfs-command.ts'

/** The guid of the snapshot that a live dataset was made from. */
const from = 'drover:from'
const mark = `${internalPrefix}generation-`

interface Parts {
  readonly names: Names
  readonly command: ZfsCommand
  readonly mounting: Mounting
  readonly privateMounts: PrivateMounts
  readonly trash: Trash
}

/** Live datasets come about as `making` and are renamed when they are whole: what is called `live` is never half made. */
export class LiveDatasets {
  readonly #parts: Parts
  readonly #marking = new KeyedMutex<VolumeId>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  async read(id: VolumeId, sync: boolean): Promise<LiveDataset | null> {
    const { names, command } = this.#parts
    const live = names.live(id)
    if (sync) {
      try {
        await this.sync(id)
      } catch (error) {
        if (hasCode(error, 'DATASET_MISSING')) return null
        throw error
      }
    }
    const found = (await command.get(live, ['guid', 'createtxg', 'refquota', 'written']))?.get(live)
    if (found === undefined) return null
    const whole = (property: string) => wholeNumber(`zfs get ${property}`, found.get(property))
    const limit = whole('refquota')
    const created = { txg: whole('createtxg'), writtenSince: whole('written') }
    const generation = await this.#marking.run(id, () => this.#generation(id, created, sync))
    return { uuid: guidOf('zfs get guid', found.get('guid')), generation, sizeBytes: limit === 0 ? null : limit }
  }

  async create(id: VolumeId, options: NewDataset): Promise<LiveDataset> {
    const { names, command, privateMounts } = this.#parts
    const existing = await this.read(id, false)
    if (existing !== null) return existing
    if (!(await command.create(names.volume(id), home(id)))) await refuseForeign(command, names.volume(id))
    const making = await this.#clearMaking(id)
    await command.create(making, liveProperties(id, options))
    await privateMounts.with(making, { readOnly: false }, async (path) => {
      await mkdir(join(path, 'data'))
      // Not by mkdir's mode: vold's umask would take from it what a container that is not root needs.
      await chmod(join(path, 'data'), 0o755)
    })
    return this.#finish(id)
  }

  async promote(id: VolumeId, snapshot: string, options: NewDataset): Promise<LiveDataset> {
    const { names, command } = this.#parts
    const live = names.live(id)
    const snapshots = (await inventoryOf(command, names, id))?.snapshots ?? []
    const origin = snapshots.find(({ name }) => name === snapshot)
    const existing = (await command.get(live, ['guid', from]))?.get(live)
    if (existing !== undefined) {
      if (origin === undefined || existing.get(from) !== origin.guid) {
        throw new DroverError(
          'DIVERGED',
          `volume ${id} has a live dataset that was not made from snapshot ${snapshot}; both are left alone`,
          { details: { live: Object.fromEntries(existing), snapshots } },
        )
      }
      return this.#known(id)
    }
    if (origin === undefined) throw missing(`${names.volume(id)}/...@${snapshot}`)
    await this.#refuseLocked(origin.dataset)
    const making = await this.#clearMaking(id)
    const properties = { ...liveProperties(id, options), readonly: 'off', [from]: origin.guid }
    await command.clone(`${origin.dataset}@${origin.name}`, making, properties)
    return this.#finish(id)
  }

  /** A mount would fail only when the source has let go. */
  async #refuseLocked(dataset: string): Promise<void> {
    const status = (await this.#parts.command.get(dataset, ['keystatus']))?.get(dataset)?.get('keystatus')
    if (status !== 'unavailable') return
    throw new DroverError(
      'BAD_CONFIG',
      `${dataset} is encrypted and its key is not loaded; run zfs load-key ${dataset} on this host, then move it again`,
    )
  }

  /** Everything written so far is on disk, pages that were changed through mappings too. @throws DATASET_MISSING */
  async sync(id: VolumeId): Promise<void> {
    const { names, command, mounting } = this.#parts
    const live = names.live(id)
    if ((await command.get(live, ['guid'])) === null) throw missing(live)
    const path = await mounting.pathOf(id)
    if (path !== null) await command.syncMount(path)
    await command.sync(live)
  }

  /** What a crash left is Drover's own and holds nothing that anybody was told of. */
  async #clearMaking(id: VolumeId): Promise<string> {
    const making = this.#parts.names.making(id)
    await this.#parts.trash.put(making, `${id}-making`)
    return making
  }

  async #finish(id: VolumeId): Promise<LiveDataset> {
    const { names, command } = this.#parts
    // A rename is a transaction of its own, and with it all that was written before is on disk.
    await command.rename(names.making(id), names.live(id))
    return this.#known(id)
  }

  async #known(id: VolumeId): Promise<LiveDataset> {
    return (await this.read(id, false)) ?? Promise.reject(missing(this.#parts.names.live(id)))
  }

  /**
   * ZFS shows the transaction of no dataset's last change, but tells whether anything was written since the newest snapshot, and in which
   * transaction that was made. So the generation is the newest snapshot's when nothing was, and else one is made to be it, in place of
   * the one that was made for this before. Without a sync no exact answer is owed, and none is made.
   */
  async #generation(
    id: VolumeId,
    { txg, writtenSince }: { txg: number; writtenSince: number },
    exact: boolean,
  ): Promise<number> {
    if (!exact) return txg
    const { names, command } = this.#parts
    const live = names.live(id)
    const before = await this.#snapshotsOf(live)
    const newest = before.at(-1)
    if (newest !== undefined && writtenSince === 0) return newest.txg
    const made = `${live}@${mark}${randomBytes(6).toString('hex')}`
    await command.snapshot(made)
    for (const { path } of before.filter((each) => each.path.startsWith(`${live}@${mark}`))) {
      await command.destroySnapshot(path)
    }
    return (await this.#snapshotsOf(live)).find(({ path }) => path === made)?.txg ?? txg
  }

  /** Oldest first, those of Drover's own use too. */
  async #snapshotsOf(live: string): Promise<{ path: string; txg: number }[]> {
    const rows = await this.#parts.command.list(live, ['name', 'createtxg'], { types: 'snapshot', depth: 1 })
    return (rows ?? [])
      .map(([path = '', txg]) => ({ path, txg: wholeNumber('zfs list createtxg', txg) }))
      .sort((a, b) => a.txg - b.txg)
  }

  /** What `read` made to tell a generation by. */
  async forgetGeneration(id: VolumeId): Promise<void> {
    const live = this.#parts.names.live(id)
    for (const { path } of await this.#snapshotsOf(live)) {
      if (path.startsWith(`${live}@${mark}`)) await this.#parts.command.destroySnapshot(path)
    }
  }
}

const liveProperties = (id: VolumeId, { sizeBytes, options = {} }: NewDataset): Properties => ({
  ...propertiesOf(options),
  ...{ mountpoint: 'legacy', canmount: 'on', refquota: sizeBytes === null ? 'none' : String(sizeBytes) },
  'drover:volume': id,
})
