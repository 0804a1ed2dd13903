import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import type { NewDataset, TreeFacet, TreePlace } from '../backend.ts'
import { readProof } from '../tree/received.ts'
import type { RsyncCheck } from '../tree/rsync.ts'
import { inventoryOf } from './inventory.ts'
import type { Names } from './names.ts'
import { propertiesOf } from './options.ts'
import type { PrivateMounts } from './private-mounts.ts'
import { asRecord, type Snapshots } from './snapshots.ts'
import type { Streams } from './streams.ts'
import { holdTag, missing, type Properties, type ZfsCommand } from './zfs-command.ts'

/** The identity of the snapshot whose files a dataset was proved to have. */
const proved = 'drover:tree'

interface Parts {
  readonly names: Names
  readonly command: ZfsCommand
  readonly privateMounts: PrivateMounts
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly clock: Clock
  readonly rsync: RsyncCheck
}

/** A tree arrives in a dataset that is writable until it is whole, mounted for as long as it is written: new, or a clone of its base. */
export class Trees implements TreeFacet {
  readonly datedLateMs = 60_000
  readonly #parts: Parts
  #sequence = 0

  constructor(parts: Parts) {
    this.#parts = parts
  }

  check(): Promise<void> {
    return this.#parts.rsync.check()
  }

  async prepareReceive(id: VolumeId, partial: string, base: string | null, options: NewDataset): Promise<void> {
    const { names, command, streams, privateMounts } = this.#parts
    await streams.abortReceive(id, partial)
    const there = await inventoryOf(command, names, id)
    if (there === null) throw missing(names.volume(id))
    const found = there.snapshots.find(({ name }) => name === base)
    if (base !== null && found === undefined) throw missing(`${names.volume(id)}/...@${base}`)
    await command.create(names.partial(id, partial), { canmount: 'off', mountpoint: 'none', 'drover:volume': id })
    const tree = names.receiving(id, partial)
    if (found !== undefined) {
      await command.clone(`${found.dataset}@${found.name}`, tree, writable(id, options))
      return
    }
    await command.create(tree, writable(id, options))
    await privateMounts.with(tree, { readOnly: false }, async (path) => {
      await mkdir(join(path, 'data'))
      await chmod(join(path, 'data'), 0o755)
    })
  }

  /** The proof is noted with the dataset itself, in a transaction that comes after those of what was proved. */
  async withPartial<T>(id: VolumeId, partial: string, use: (place: TreePlace) => Promise<T>): Promise<T> {
    const { names, command, privateMounts } = this.#parts
    const tree = names.receiving(id, partial)
    if ((await command.get(tree, ['guid'])) === null) throw missing(tree)
    return privateMounts.with(tree, { readOnly: false }, async (path) => {
      const proofPath = join(privateMounts.root, `proof-${id}-${partial}`)
      await rm(proofPath, { force: true })
      try {
        const result = await use({ path, proofPath })
        const identity = await readProof(proofPath)
        if (identity !== null) await command.set(tree, { [proved]: identity })
        return result
      } finally {
        await rm(proofPath, { force: true })
      }
    })
  }

  async finishReceive(id: VolumeId, partial: string, name: string, identity: string): Promise<SnapshotRecord> {
    const { names, command, snapshots, streams, clock } = this.#parts
    const from = names.receiving(id, partial)
    if ((await command.get(from, ['guid'])) !== null) {
      await this.#demandProof(from, identity)
      // Never recorded: a crash came between. It was of this name's last try.
      if ((await snapshots.find(id, name)) !== null) await snapshots.destroy(id, name)
      await command.set(from, { canmount: 'off', mountpoint: 'none', readonly: 'on', refquota: 'none' })
      await command.snapshot(`${from}@${name}`)
      await command.hold(`${from}@${name}`, holdTag)
      // The last step makes it a snapshot of the volume.
      await command.rename(from, names.kept(id, `${clock.now().toString(36)}-t${this.#sequence++}`))
    }
    const found = await snapshots.find(id, name)
    if (found === null) throw new DroverError('DATASET_MISSING', `no tree arrived at ${from}; send it again`)
    await this.#demandProof(found.dataset, identity)
    await streams.abortReceive(id, partial)
    return asRecord(found, 'move')
  }

  /** @throws STREAM_FAILED */
  async #demandProof(dataset: string, identity: string): Promise<void> {
    const values = await this.#parts.command.get(dataset, [proved], { local: true })
    const found = values?.get(dataset)?.get(proved)
    if (found === identity) return
    throw new DroverError(
      'STREAM_FAILED',
      `what arrived at ${dataset} is ${found === undefined ? 'incomplete' : found}, not snapshot ${identity}; send it again`,
    )
  }
}

const writable = (id: VolumeId, { sizeBytes, options = {} }: NewDataset): Properties => ({
  // A file keeps the size of records that it was first written with.
  ...propertiesOf(options),
  ...{ mountpoint: 'legacy', canmount: 'on', readonly: 'off' },
  ...{ refquota: sizeBytes === null ? 'none' : String(sizeBytes), 'drover:volume': id },
})
