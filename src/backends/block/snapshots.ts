import { randomUUID } from 'node:crypto'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import { type Clock, isoNow } from '../../lib/clock.ts'
import type { SnapshotFacet, TakenSnapshot } from '../backend.ts'
import type { BlockProvider, LiveNote, SnapshotNote, Writers } from './device.ts'
import { differences, type Range } from './differences.ts'
import type { FileSystems } from './file-systems.ts'
import type { Freeze } from './freeze.ts'
import type { Layout } from './layout.ts'
import type { Mounting } from './mounting.ts'
import { missing, type Notes, newDevice, notesIn, readNote } from './notes.ts'
import { isSameTree } from './same-tree.ts'
import { Taken } from './taken.ts'
import type { Trash } from './trash.ts'
import type { Views } from './views.ts'

/** So much a file system writes for itself (superblock, journal): no estimate of what changed counts it. */
const noiseBytes = 64 * 1024
/** Beyond so many ranges that differ nothing is looked at any closer: it has changed. */
const mostRanges = 4_096

/** What is to become a snapshot, and where it is noted meanwhile. */
interface Cloned {
  readonly making: string
  readonly note: SnapshotNote
}

interface Parts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly notes: Notes
  readonly trash: Trash
  readonly mounting: Mounting
  readonly freeze: Freeze
  readonly fileSystems: FileSystems
  readonly views: Views
  readonly clock: Clock
}

/**
 * Snapshots are sealed clones of the live device, taken while its file system is frozen, or mounted nowhere and clean. A seal's mark (see
 * device.ts) is the `generation` of the record: a base is intact exactly while device, seal and mark are still the recorded ones.
 */
export class Snapshots implements SnapshotFacet {
  readonly take?: NonNullable<SnapshotFacet['take']>
  readonly #parts: Parts
  /** By the path of what they are to be. */
  readonly #taken = new Map<string, Taken<Cloned>>()

  constructor(parts: Parts) {
    this.#parts = parts
    if (parts.devices.sealable !== undefined) this.take = (id, name, signal) => this.#take(id, name, signal)
  }

  async create(id: VolumeId, name: string, origin: SnapshotRecord['origin']): Promise<SnapshotRecord> {
    const { layout, devices, notes, trash } = this.#parts
    const path = layout.snapshot(id, name)
    const existing = await readNote<SnapshotNote>(path)
    if (existing !== null) {
      if (await devices.isSealed(existing.device)) return asRecord(name, existing, origin)
      throw new DroverError(
        'DIVERGED',
        `snapshot ${name} of volume ${id} is gone, or was made writable by somebody; it is left alone, use another name`,
      )
    }
    const { making, note } = this.#taken.get(path)?.use() ?? (await this.#clone(id, name))
    try {
      const sealed: SnapshotNote = { ...note, seal: await devices.seal(note.device) }
      await notes.write(making, sealed)
      await notes.commit(id, making, path)
      return asRecord(name, sealed, origin)
    } catch (error) {
      await trash.put(id, making)
      throw error
    }
  }

  async #take(id: VolumeId, name: string, signal: AbortSignal): Promise<TakenSnapshot | null> {
    const { layout, devices, trash, clock } = this.#parts
    const path = layout.snapshot(id, name)
    if ((await readNote(path)) !== null) return null
    const known = this.#taken.get(path)
    if (known !== undefined) return known
    signal.throwIfAborted()
    const cloned = await this.#clone(id, name, signal)
    const whole = async () => devices.sealable?.(cloned.note.device, signal)
    const taken = new Taken({
      ...{ cloned, clock, signal, whole: whole() },
      forget: () => this.#taken.delete(path),
      drop: () => trash.put(id, cloned.making),
    })
    this.#taken.set(path, taken)
    return taken
  }

  /** Under making/, not valid yet. */
  async #clone(id: VolumeId, name: string, signal?: AbortSignal): Promise<Cloned> {
    const { layout, notes, trash, mounting, clock } = this.#parts
    const live = await mounting.note(id)
    if (live === null) throw missing(layout.live(id))
    const what = `snapshot-${name}`
    await trash.put(id, layout.making(id, what))
    const uuid = randomUUID()
    const note: SnapshotNote = {
      ...{ uuid, streamUuid: uuid, device: newDevice(id), fileSystem: live.fileSystem, liveUuid: live.uuid },
      ...{ createdAt: isoNow(clock), sequence: await this.nextSequence(id), volumeId: id },
    }
    const making = await notes.begin(id, what, note)
    try {
      await this.#cloneLive(id, live, note.device, signal)
      return { making, note }
    } catch (error) {
      await trash.put(id, making)
      throw error
    }
  }

  async list(id: VolumeId): Promise<SnapshotRecord[]> {
    const found: { sequence: number; record: SnapshotRecord }[] = []
    for (const { name, note } of await this.all(id)) {
      // A seal that somebody broke makes it no snapshot any more.
      if (!(await this.#parts.devices.isSealed(note.device))) continue
      found.push({ sequence: note.sequence, record: asRecord(name, note, 'user') })
    }
    return found.toSorted((one, other) => one.sequence - other.sequence).map(({ record }) => record)
  }

  async destroy(id: VolumeId, name: string): Promise<void> {
    await this.#parts.trash.put(id, this.#parts.layout.snapshot(id, name))
  }

  async intact(id: VolumeId, recorded: SnapshotRecord): Promise<boolean> {
    const note = await readNote<SnapshotNote>(this.#parts.layout.snapshot(id, recorded.name))
    if (note === null || note.uuid !== recorded.uuid || note.streamUuid !== recorded.streamUuid) return false
    return note.seal?.mark === recorded.generation && this.isWhole(note)
  }

  /** The device is what was sealed. */
  async isWhole({ device, seal }: SnapshotNote): Promise<boolean> {
    return seal !== undefined && this.#parts.devices.isIntact(device, seal)
  }

  /** Files of a device that is no longer what it was are shown as they are now. */
  async withPath<T>(id: VolumeId, name: string, use: (path: string) => Promise<T>): Promise<T> {
    await this.prefetch(id, name)
    const note = await this.#mustFind(id, name)
    return this.#parts.views.show(note.device, note.fileSystem, 'view', use)
  }

  async prefetch(id: VolumeId, name: string): Promise<void> {
    await this.#parts.devices.prefetch?.((await this.#mustFind(id, name)).device)
  }

  async changedBytes(
    id: VolumeId,
    since: SnapshotRecord,
    { writers = 'running', signal }: { writers?: Writers; signal?: AbortSignal } = {},
  ): Promise<number> {
    const { devices, mounting, layout } = this.#parts
    const live = await mounting.note(id)
    if (live === null) throw missing(layout.live(id))
    const note = await this.#mustFind(id, since.name)
    await mounting.sync(live)
    const counted = (await devices.writtenSince?.(live.device, note.device)) ?? null
    const bytes = counted ?? (await this.#differingBytes(live.device, note.device, writers, signal))
    const sizeBytes = await devices.sizeBytes(live.device)
    if (bytes > noiseBytes) return Math.min(bytes, sizeBytes ?? bytes)
    return sizeBytes === (await devices.sizeBytes(note.device)) ? 0 : bytes
  }

  async #differingBytes(one: string, other: string, writers: Writers, signal?: AbortSignal): Promise<number> {
    let bytes = 0
    for await (const { start, end } of this.#differences(one, other, writers, signal)) bytes += end - start
    return bytes
  }

  async unchangedSince(id: VolumeId, name: string, options: { readonly quick?: boolean } = {}): Promise<boolean> {
    const { devices, mounting, layout, views } = this.#parts
    const live = await mounting.note(id)
    if (live === null || (await devices.sizeBytes(live.device)) === null) throw missing(layout.live(id))
    const note = await this.#mustFind(id, name)
    if (note.liveUuid !== live.uuid || !(await this.isWhole(note))) return false
    if ((await devices.sizeBytes(live.device)) !== (await devices.sizeBytes(note.device))) return false
    return this.#withStill(id, live, async (probe) => {
      const written = (await devices.writtenSince?.(probe, note.device)) ?? null
      if (written === 0) return true
      if (written !== null && options.quick === true) return false
      const ranges: Range[] = []
      for await (const range of this.#differences(probe, note.device, 'standing')) {
        ranges.push(range)
        if (ranges.length > mostRanges) return false
      }
      if (ranges.length === 0) return true
      return views.show(probe, live.fileSystem, 'view', (now) =>
        views.show(note.device, note.fileSystem, 'view', async (then) => isSameTree(now, then, ranges)),
      )
    })
  }

  /** The notes of all snapshots, unordered. */
  async all(id: VolumeId): Promise<{ name: string; note: SnapshotNote }[]> {
    const { layout } = this.#parts
    const found = await Promise.all(
      (await notesIn(layout.snapshots(id))).map(async (name) => {
        const note = await readNote<SnapshotNote>(layout.snapshot(id, name))
        return note === null ? null : { name, note }
      }),
    )
    return found.filter((each) => each !== null)
  }

  async nextSequence(id: VolumeId): Promise<number> {
    return Math.max(0, ...(await this.all(id)).map(({ note }) => note.sequence)) + 1
  }

  async #mustFind(id: VolumeId, name: string): Promise<SnapshotNote> {
    const path = this.#parts.layout.snapshot(id, name)
    const note = await readNote<SnapshotNote>(path)
    if (note === null || (await this.#parts.devices.sizeBytes(note.device)) === null) throw missing(path)
    return note
  }

  /** What is mounted is frozen for it; what is not is first brought to where nothing waits in its journal. */
  async #cloneLive(id: VolumeId, live: LiveNote, to: string, signal?: AbortSignal): Promise<void> {
    await this.#parts.freeze.hold(id, live.device, async (isMounted) => {
      if (!isMounted) await this.#replay(live)
      await this.#parts.devices.clone(live.device, to, { toBeSealed: true, signal })
    })
  }

  async #replay({ device, fileSystem }: LiveNote): Promise<void> {
    const { fileSystems, devices, views } = this.#parts
    if (await fileSystems.isClean(fileSystem, await devices.path(device))) return
    await views.show(device, fileSystem, 'writable', async () => {})
  }

  /** A device that shows the live dataset as it is now and that nobody writes to, for as long as `work` takes. */
  async #withStill<T>(id: VolumeId, live: LiveNote, work: (device: string) => Promise<T>): Promise<T> {
    const { layout, notes, trash, freeze, devices, mounting } = this.#parts
    if ((await mounting.reach(live.device)) === null) {
      const found = await freeze.hold(id, live.device, async (isMounted) => {
        if (isMounted) return null
        await this.#replay(live)
        await devices.sync(live.device)
        return { value: await work(live.device) }
      })
      if (found !== null) return found.value
    }
    const device = newDevice(id)
    const what = `probe-${randomUUID()}`
    await notes.begin(id, what, { device })
    try {
      await this.#cloneLive(id, live, device)
      return await work(device)
    } finally {
      await trash.put(id, layout.making(id, what))
    }
  }

  async *#differences(one: string, other: string, writers: Writers, signal?: AbortSignal): AsyncGenerator<Range, void> {
    const { devices } = this.#parts
    const sizes = await Promise.all([devices.sizeBytes(one), devices.sizeBytes(other)])
    const sizeBytes = Math.max(...sizes.map((size) => size ?? 0))
    const told = await devices.changes?.(one, other, sizeBytes, writers)
    if (told != null) {
      // Gone through at once, also when nobody waits any more: only then what it came from is given back.
      for await (const range of told) {
        signal?.throwIfAborted()
        yield range
      }
      return
    }
    signal?.throwIfAborted()
    const [path, otherPath] = [await devices.path(one), await devices.path(other)]
    yield* differences(path, otherPath, sizeBytes, await devices.ranges(one, other), signal)
  }
}

export const asRecord = (name: string, note: SnapshotNote, origin: SnapshotRecord['origin']): SnapshotRecord => ({
  name,
  uuid: note.uuid,
  streamUuid: note.streamUuid,
  generation: note.seal?.mark ?? 0,
  createdAt: note.createdAt,
  origin,
})
