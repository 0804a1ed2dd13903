import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import type { Argv, LiveDataset, NewDataset, StreamFacet } from '../backend.ts'
import { type FoundSnapshot, inventoryOf } from './inventory.ts'
import type { LiveDatasets } from './live-datasets.ts'
import { arriving, type Names } from './names.ts'
import { Resuming } from './resuming.ts'
import { asRecord } from './snapshots.ts'
import type { Trash } from './trash.ts'
import { holdTag, missing, type ZfsCommand } from './zfs-command.ts'

interface Parts {
  readonly names: Names
  readonly command: ZfsCommand
  readonly live: LiveDatasets
  readonly trash: Trash
  readonly clock: Clock
}

/**
 * Streams of `zfs send`: blocks as they lie on disk, compressed and of any size, and of an encrypted dataset encrypted. Each is received
 * into a dataset of its own, an incremental one into a clone of its base, so that nothing of the volume is touched before what arrived
 * is proved, and never rolled back.
 *
 * Never with `-e`: OpenZFS (seen in 2.3.9; openzfs/zfs#19091) then sends extended attributes that compress to next to nothing as a kind of
 * record that the receiver takes for file data past the end, and they are lost with no error. `-w` has no such blocks: where data is
 * encrypted, none is embedded.
 */
export class Streams implements StreamFacet {
  readonly format = 'zfs-send-1'
  readonly resuming: Resuming
  readonly #parts: Parts
  #sequence = 0

  constructor(parts: Parts) {
    this.#parts = parts
    this.resuming = new Resuming(parts.names, parts.command)
  }

  async sendCommand(id: VolumeId, snapshot: string, base: string | null): Promise<Argv> {
    const { command, names } = this.#parts
    const there = await inventoryOf(command, names, id)
    const pathOf = (name: string): string => {
      const found = there?.snapshots.find((each) => each.name === name)
      if (found !== undefined) return `${found.dataset}@${name}`
      const bookmark = there?.bookmarks.find((each) => each.name === name && each.dataset === names.live(id))
      if (bookmark !== undefined && name !== snapshot) return `${bookmark.dataset}#${name}`
      throw missing(`${names.volume(id)}/...@${name}`)
    }
    const path = pathOf(snapshot)
    const upon = base === null ? [] : ['-i', pathOf(base)]
    const raw = there?.isEncrypted === true ? ['-w'] : []
    return ['zfs', 'send', '-L', '-c', ...raw, ...upon, path]
  }

  async prepareReceive(id: VolumeId, partial: string, baseUuid: string | null = null): Promise<Argv> {
    const { command, names } = this.#parts
    const there = await inventoryOf(command, names, id)
    if (there === null) throw missing(names.volume(id))
    if (there.partials.has(partial)) await this.abortReceive(id, partial)
    const base = there.snapshots.find(({ guid }) => guid === baseUuid)
    if (baseUuid !== null && base === undefined) throw withoutBase(id, baseUuid, there.snapshots)
    await command.create(names.partial(id, partial), { canmount: 'off', mountpoint: 'none', 'drover:volume': id })
    const upon = base === undefined ? [] : ['-o', `origin=${base.dataset}@${base.name}`]
    const properties = ['-o', 'canmount=off', '-o', 'readonly=on', '-o', 'mountpoint=none', '-o', `drover:volume=${id}`]
    return ['zfs', 'receive', '-s', '-u', ...upon, ...properties, `${names.receiving(id, partial)}@${arriving}`]
  }

  async finishReceive(
    id: VolumeId,
    partial: string,
    name: string,
    expectedStreamUuid: string,
  ): Promise<SnapshotRecord> {
    const { command, names } = this.#parts
    const from = names.receiving(id, partial)
    const there = await inventoryOf(command, names, id)
    const arrived = there?.partials.get(partial) ?? null
    const found = there?.snapshots.find((each) => each.name === name) ?? arrived
    if (found === null) throw new DroverError('DATASET_MISSING', `no snapshot arrived at ${from}; send it again`)
    if (found.guid !== expectedStreamUuid) throw another(found.dataset, found.guid, expectedStreamUuid)
    if (found === arrived) await this.#keep(id, arrived, name)
    if (there?.partials.has(partial) === true) await this.#clear(id, partial)
    return { ...asRecord(found, 'move'), name }
  }

  /** The last step makes it a snapshot of the volume: name and hold it has by then. */
  async #keep(id: VolumeId, arrived: FoundSnapshot, name: string): Promise<void> {
    const { command, names, clock } = this.#parts
    const { dataset } = arrived
    if (arrived.name !== name) await command.renameSnapshot(`${dataset}@${arrived.name}`, `${dataset}@${name}`)
    await command.hold(`${dataset}@${name}`, holdTag)
    await command.rename(dataset, names.kept(id, `${clock.now().toString(36)}-${this.#sequence++}`))
  }

  /** Mostly nothing is left in it. */
  async #clear(id: VolumeId, partial: string): Promise<void> {
    const { command, names } = this.#parts
    const isGone = await command.destroyEmpty(names.partial(id, partial)).catch(() => false)
    if (!isGone) await this.abortReceive(id, partial)
  }

  async abortReceive(id: VolumeId, partial: string): Promise<void> {
    await this.#parts.trash.put(this.#parts.names.partial(id, partial), `${id}-partial`)
  }

  async partials(id: VolumeId): Promise<string[]> {
    const { command, names } = this.#parts
    return [...((await inventoryOf(command, names, id))?.partials.keys() ?? [])]
  }

  promote(id: VolumeId, snapshot: string, options: NewDataset): Promise<LiveDataset> {
    return this.#parts.live.promote(id, snapshot, options)
  }
}

const another = (dataset: string, guid: string, expectedStreamUuid: string): DroverError =>
  new DroverError(
    'STREAM_FAILED',
    `what arrived at ${dataset} is ${guid}, not snapshot ${expectedStreamUuid}; send it again`,
    { details: { arrived: guid, expectedStreamUuid } },
  )

const withoutBase = (id: VolumeId, baseUuid: string, snapshots: readonly FoundSnapshot[]): DroverError =>
  new DroverError(
    'DIVERGED',
    `the stream for volume ${id} goes upon snapshot ${baseUuid}, which is not here; nothing was rolled back, send it whole`,
    { details: { wanted: baseUuid, snapshots } },
  )
