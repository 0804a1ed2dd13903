import { mkdir, readdir, rmdir, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { isErrno } from '../../lib/files.ts'
import type { SnapshotFacet } from '../backend.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'
import type { SubvolumeInfo } from './parse.ts'
import { withProbe } from './probe.ts'
import type { Quota } from './quota.ts'
import type { Trash } from './trash.ts'

/**
 * Which number says that nothing was written? Two do, each for its own use (found by experiment on 6.18, kept by
 * test/platform/btrfs-generation.test.ts):
 *
 * The *generation* of a subvolume is the last transaction that changed its tree at all.
 * - A snapshot sets the source's generation to the transaction that made it, written to or not, and that is the snapshot's
 *   own generation at creation. So the live dataset is unchanged since S exactly when its generation is still S's
 *   generation at creation: without a race, and without having read anything right after S.
 * - Equal after: reads (noatime), mount, unmount, fsync of nothing new, quota enable, limit and rescan, removal of S or of other
 *   snapshots, sends. Any write, truncation, rename, link, chmod, chown or xattr changes it, at the latest by a sync.
 * - Changed falsely by: a further snapshot of it, a file that was unlinked before S and whose last descriptor is closed after S (so: killing
 *   a paused container), access times where the mount lacks noatime, a balance.
 *
 * The *last change* (`ctransid`, the head of its send stream) is the last transaction that changed an inode from within. Snapshots inherit it.
 * It is not moved by the false causes but access times, and, what matters more, not by using a snapshot: to promote a snapshot, or to
 * receive a stream upon it, is to make a snapshot of it, which moves its generation. So a base is proved by: the same
 * subvolume, still read-only, and no last change after the generation recorded.
 *
 * What a SnapshotRecord's `generation` holds follows from both: the transaction after which nothing changed in it. Made here: its
 * generation at creation, so that a live dataset whose generation is not above it is unchanged. Received: its last change, synced.
 */
export class Snapshots implements SnapshotFacet {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #quota: Quota
  readonly #trash: Trash

  constructor(layout: Layout, command: BtrfsCommand, quota: Quota, trash: Trash) {
    this.#layout = layout
    this.#command = command
    this.#quota = quota
    this.#trash = trash
  }

  async create(id: VolumeId, name: string, origin: SnapshotRecord['origin']): Promise<SnapshotRecord> {
    const path = this.#layout.snapshot(id, name)
    const existing = await this.#command.show(path)
    if (existing?.readOnly === false) {
      throw new DroverError(
        'DIVERGED',
        `snapshot ${name} of volume ${id} was made writable by somebody; it is left alone, use another name`,
      )
    }
    if (existing === null) {
      await this.#makeHome(id, name)
      try {
        await this.#command.snapshot(this.#layout.live(id), path, 'read-only')
      } catch (error) {
        await rmdir(this.#layout.snapshotHome(id, name)).catch(() => undefined)
        throw error
      }
    }
    const info = existing ?? (await this.#command.show(path))
    if (info === null) throw missing(path)
    if (info.limitBytes !== null) await this.#quota.limit(path, null)
    return existing === null
      ? asRecord(name, info, origin, info.bornGeneration, await begunAt(path))
      : this.record(path, name, info, origin)
  }

  async list(id: VolumeId): Promise<SnapshotRecord[]> {
    const found = await Promise.all(
      (await namesIn(this.#layout.snapshots(id))).map(async (name) => {
        const path = this.#layout.snapshot(id, name)
        const info = await this.#command.show(path)
        // A flag that somebody flipped makes it no snapshot any more: it cannot be sent, nor be a base.
        return info === null || !info.readOnly
          ? null
          : { id: info.id, record: await this.record(path, name, info, 'user') }
      }),
    )
    return found
      .filter((item) => item !== null)
      .sort((a, b) => a.id - b.id)
      .map((item) => item.record)
  }

  destroy(id: VolumeId, name: string): Promise<void> {
    return this.#trash.put(this.#layout.snapshotHome(id, name), `${id}-snapshot`)
  }

  async intact(id: VolumeId, recorded: SnapshotRecord): Promise<boolean> {
    const path = this.#layout.snapshot(id, recorded.name)
    const [info, change] = await Promise.all([
      this.#command.show(path),
      // What is absent or writable has no stream to read it from.
      this.#command.lastChange(path).catch((error: unknown) => ({ error })),
    ])
    if (info === null || !info.readOnly || info.uuid !== recorded.uuid) return false
    if ((info.receivedUuid ?? info.uuid) !== recorded.streamUuid) return false
    if (typeof change === 'object') throw change.error
    return change <= recorded.generation
  }

  async withPath<T>(id: VolumeId, name: string, use: (path: string) => Promise<T>): Promise<T> {
    const path = this.#layout.snapshot(id, name)
    if ((await this.#command.show(path)) === null) throw missing(path)
    return use(path)
  }

  async changedBytes(id: VolumeId, since: SnapshotRecord): Promise<number> {
    return this.#command.changedSince(this.#layout.live(id), since.generation + 1)
  }

  async unchangedSince(id: VolumeId, name: string): Promise<boolean> {
    const live = this.#layout.live(id)
    const snapshot = this.#layout.snapshot(id, name)
    // Of the two only what never changes is looked at, so that it need not wait for the sync.
    const [generation, source, taken] = await Promise.all([
      this.#command.syncedGeneration(live),
      this.#command.show(live),
      this.#command.show(snapshot),
    ])
    if (source === null) throw missing(live)
    if (taken === null) throw missing(snapshot)
    if (taken.parentUuid !== source.uuid || !taken.readOnly) return false
    if (generation === taken.bornGeneration) return true
    return (await this.#lastChangeOfLive(id)) === (await this.#command.lastChange(snapshot))
  }

  /** Only a read-only subvolume has a send stream to read its last change from, so one is made for as long as that takes. */
  #lastChangeOfLive(id: VolumeId): Promise<number> {
    const parts = { layout: this.#layout, command: this.#command, trash: this.#trash }
    return withProbe(parts, id, 'change', (probe) => this.#command.lastChange(probe))
  }

  async #makeHome(id: VolumeId, name: string): Promise<void> {
    try {
      await mkdir(this.#layout.snapshotHome(id, name), { recursive: false, mode: 0o700 })
    } catch (error) {
      if (isErrno(error, 'EEXIST')) return
      if (!isErrno(error, 'ENOENT')) throw error
      await this.#makeParent(id)
      await mkdir(this.#layout.snapshotHome(id, name), { recursive: true, mode: 0o700 })
    }
  }

  /** Never the volume's own directory: what is not there is not made by a snapshot. */
  async #makeParent(id: VolumeId): Promise<void> {
    try {
      await mkdir(this.#layout.snapshots(id), { mode: 0o700 })
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw missing(this.#layout.live(id))
      if (!isErrno(error, 'EEXIST')) throw error
    }
  }

  async record(
    path: string,
    name: string,
    info: SubvolumeInfo,
    origin: SnapshotRecord['origin'],
  ): Promise<SnapshotRecord> {
    const generation = Math.max(info.bornGeneration, await this.#command.lastChange(path))
    return asRecord(name, info, origin, generation, await begunAt(path))
  }
}

/**
 * The directory around it was made right before. The kernel dates a snapshot by its last moment, and files that are written while it is
 * being made may be in it with the bytes of before and the times of after.
 */
const begunAt = async (path: string): Promise<string> => (await stat(dirname(path))).birthtime.toISOString()

const asRecord = (
  name: string,
  info: SubvolumeInfo,
  origin: SnapshotRecord['origin'],
  generation: number,
  createdAt: string,
): SnapshotRecord => ({
  name,
  uuid: info.uuid,
  streamUuid: info.receivedUuid ?? info.uuid,
  generation,
  createdAt,
  origin,
})

export const missing = (path: string): DroverError =>
  new DroverError('DATASET_MISSING', `there is no dataset at ${path}; nothing was made in its place`)

/** Names of the directories below; none when there is no such directory. */
export const namesIn = async (directory: string): Promise<string[]> => {
  try {
    const entries = await readdir(directory, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}
