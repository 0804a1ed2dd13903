import { chmod, mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { TreeFacet, TreePlace } from '../backend.ts'
import { demandProof } from '../tree/received.ts'
import type { RsyncCheck } from '../tree/rsync.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import { type Layout, subvolumeName } from './layout.ts'
import type { Quota } from './quota.ts'
import { missing, type Snapshots } from './snapshots.ts'
import type { Streams } from './streams.ts'
import type { Trash } from './trash.ts'

interface Parts {
  readonly layout: Layout
  readonly command: BtrfsCommand
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly quota: Quota
  readonly trash: Trash
  readonly rsync: RsyncCheck
}

/** A tree arrives in a subvolume that is writable until it is whole: new, or a snapshot of its base. */
export class Trees implements TreeFacet {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  check(): Promise<void> {
    return this.#parts.rsync.check()
  }

  async prepareReceive(
    id: VolumeId,
    partial: string,
    base: string | null,
    { sizeBytes }: { sizeBytes: number | null },
  ): Promise<void> {
    const { layout, command, streams, quota } = this.#parts
    const tree = join(await streams.makePlace(id, partial), subvolumeName)
    if (base === null) {
      await command.createSubvolume(tree)
      await mkdir(join(tree, 'data'))
      await chmod(join(tree, 'data'), 0o755)
    } else await command.snapshot(layout.snapshot(id, base), tree, 'writable')
    if (sizeBytes !== null) await quota.limit(tree, sizeBytes)
  }

  async withPartial<T>(id: VolumeId, partial: string, use: (place: TreePlace) => Promise<T>): Promise<T> {
    const { layout, command } = this.#parts
    const path = join(layout.partial(id, partial), subvolumeName)
    if ((await command.show(path)) === null) throw missing(path)
    return use({ path, proofPath: layout.partialProof(id, partial) })
  }

  async finishReceive(id: VolumeId, partial: string, name: string, identity: string): Promise<SnapshotRecord> {
    const { layout, command, snapshots, quota, trash } = this.#parts
    const from = layout.partial(id, partial)
    const to = layout.snapshot(id, name)
    const tree = join(from, subvolumeName)
    const arrived = await command.show(tree)
    if (arrived !== null) {
      await demandProof(layout.partialProof(id, partial), identity)
      // Never recorded: a crash came between. It was of this name's last try.
      await trash.put(layout.snapshotHome(id, name), `${id}-snapshot`)
      if (arrived.limitBytes !== null) await quota.limit(tree, null)
      await command.setReadOnly(tree)
      await command.sync(layout.where)
      await mkdir(layout.snapshots(id), { recursive: true, mode: 0o700 })
      await rename(from, layout.snapshotHome(id, name))
    } else {
      const proof = join(layout.snapshotHome(id, name), 'proof.json')
      if ((await command.show(to)) === null) {
        throw new DroverError('DATASET_MISSING', `no tree arrived at ${from}; send it again`)
      }
      await demandProof(proof, identity)
    }
    await command.sync(layout.where)
    const info = await command.show(to)
    if (info === null) throw missing(to)
    return snapshots.record(to, name, info, 'move')
  }
}
