import { chmod, mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { syncDirectory } from '../../lib/files.ts'
import type { LiveDataset } from '../backend.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { KnownLive } from './known-live.ts'
import type { Layout } from './layout.ts'
import type { Quota } from './quota.ts'
import { missing } from './snapshots.ts'
import type { Trash } from './trash.ts'

/** Live datasets come about under another name and are renamed when they are whole: what is called `live` is never half made. */
export class LiveDatasets {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #quota: Quota
  readonly #trash: Trash
  readonly #known: KnownLive

  constructor(layout: Layout, command: BtrfsCommand, quota: Quota, trash: Trash, known: KnownLive) {
    this.#layout = layout
    this.#command = command
    this.#quota = quota
    this.#trash = trash
    this.#known = known
  }

  async read(id: VolumeId, sync: boolean): Promise<LiveDataset | null> {
    const path = this.#layout.live(id)
    const info = await (sync ? this.#command.show(path) : this.#known.show(id))
    if (info === null) return null
    // The generation that counts what is still in memory exists only after a sync.
    const generation = sync ? await this.#command.syncedGeneration(path) : info.generation
    return { uuid: info.uuid, generation, sizeBytes: info.limitBytes }
  }

  async create(id: VolumeId, sizeBytes: number | null): Promise<LiveDataset> {
    const existing = await this.read(id, true)
    if (existing !== null) return existing
    if ((await mkdir(this.#layout.volume(id), { recursive: true, mode: 0o700 })) !== undefined) {
      await syncDirectory(this.#layout.volumes)
    }
    const making = await this.#clearMaking(id)
    await this.#command.createSubvolume(making)
    await mkdir(join(making, 'data'))
    // Not by mkdir's mode: vold's umask would take from it what a container that is not root needs.
    await chmod(join(making, 'data'), 0o755)
    if (sizeBytes !== null) await this.#quota.limit(making, sizeBytes)
    return this.#finish(id)
  }

  async promote(id: VolumeId, snapshot: string, sizeBytes: number | null): Promise<LiveDataset> {
    const source = this.#layout.snapshot(id, snapshot)
    const [origin, existing] = await Promise.all([
      this.#command.show(source),
      this.#command.show(this.#layout.live(id)),
    ])
    if (existing !== null) {
      if (origin === null || existing.parentUuid !== origin.uuid) {
        throw new DroverError(
          'DIVERGED',
          `volume ${id} has a live dataset that was not made from snapshot ${snapshot}; both are left alone`,
          {
            details: { live: existing, snapshot: origin },
          },
        )
      }
      return (await this.read(id, true)) ?? (await Promise.reject(missing(this.#layout.live(id))))
    }
    if (origin === null) throw missing(source)
    const making = await this.#clearMaking(id)
    await this.#command.snapshot(source, making, 'writable')
    // Also without a size: the snapshot may carry a limit of old times.
    if (sizeBytes !== null || origin.limitBytes !== null) await this.#quota.limit(making, sizeBytes)
    return this.#finish(id)
  }

  /** What a crash left is Drover's own and holds nothing that anybody was told of. */
  async #clearMaking(id: VolumeId): Promise<string> {
    const making = this.#layout.liveMaking(id)
    await this.#trash.put(making, `${id}-making`)
    return making
  }

  async #finish(id: VolumeId): Promise<LiveDataset> {
    await rename(this.#layout.liveMaking(id), this.#layout.live(id))
    const path = this.#layout.live(id)
    // Asking for the generation syncs the file system, and with it the rename.
    const [generation, info] = await Promise.all([this.#command.syncedGeneration(path), this.#command.show(path)])
    if (info === null) throw missing(path)
    return { uuid: info.uuid, generation, sizeBytes: info.limitBytes }
  }
}
