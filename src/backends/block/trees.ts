import { randomUUID } from 'node:crypto'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import { readIfExists } from '../../lib/files.ts'
import type { TreeFacet, TreePlace } from '../backend.ts'
import { demandProof } from '../tree/received.ts'
import type { RsyncCheck } from '../tree/rsync.ts'
import { nameArrived } from './arrival.ts'
import type { BlockProvider, PartialNote, SnapshotNote, VolumeFileSystem } from './device.ts'
import type { FileSystems } from './file-systems.ts'
import type { Layout } from './layout.ts'
import type { LiveDatasets } from './live-datasets.ts'
import type { Mounting } from './mounting.ts'
import { missing, type Notes, newDevice, readNote } from './notes.ts'
import { asRecord, type Snapshots } from './snapshots.ts'
import type { Streams } from './streams.ts'
import type { Trash } from './trash.ts'
import type { Views } from './views.ts'

interface Parts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly notes: Notes
  readonly trash: Trash
  readonly snapshots: Snapshots
  readonly streams: Streams
  readonly live: LiveDatasets
  readonly fileSystems: FileSystems
  readonly fileSystem: VolumeFileSystem
  readonly views: Views
  readonly mounting: Mounting
  readonly clock: Clock
  readonly rsync: RsyncCheck
}

/** A tree arrives in a file system on a device of its own, mounted for as long as it is written: a new one, or a clone of its base's. */
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
    const { layout, devices, notes, live, snapshots, streams, fileSystem } = this.#parts
    await streams.abortReceive(id, partial)
    const baseNote = base === null ? null : await readNote<SnapshotNote>(layout.snapshot(id, base))
    if (base !== null && (baseNote === null || !(await snapshots.isWhole(baseNote)))) {
      throw missing(layout.snapshot(id, base))
    }
    const note: TreeNote = {
      ...{ device: newDevice(id), volumeId: id, fileSystem: baseNote?.fileSystem ?? fileSystem },
    }
    await notes.directory(id, layout.partials(id))
    await notes.write(layout.partial(id, partial), note)
    if (baseNote === null) await live.makeFileSystem(note.device, sizeBytes, 'staged')
    else {
      const baseBytes = (await devices.sizeBytes(baseNote.device)) ?? 0
      await (devices.stage?.(note.device, baseNote.device, baseBytes) ?? devices.clone(baseNote.device, note.device))
      await live.enlarge(note, sizeBytes)
    }
  }

  async withPartial<T>(id: VolumeId, partial: string, use: (place: TreePlace) => Promise<T>): Promise<T> {
    const { layout, views, devices } = this.#parts
    const note = await readNote<TreeNote>(layout.partial(id, partial))
    if (note === null) throw missing(layout.partial(id, partial))
    const proofPath = layout.received(id, partial)
    const given = await views.show(note.device, note.fileSystem, 'writable', (path) => use({ path, proofPath }))
    if ((await readIfExists(proofPath)) === null) await devices.refuseIfFull?.(note.device)
    return given
  }

  async finishReceive(id: VolumeId, partial: string, name: string, identity: string): Promise<SnapshotRecord> {
    const { layout, devices, trash } = this.#parts
    const from = layout.partial(id, partial)
    const to = layout.snapshot(id, name)
    const note = await readNote<TreeNote>(from)
    if (note === null) {
      const there = await readNote<SnapshotNote>(to)
      if (there === null || !(await devices.isSealed(there.device))) {
        throw new DroverError('DATASET_MISSING', `no tree arrived at ${from}; send it again`)
      }
      if (there.treeUuid === identity) return asRecord(name, there, 'move')
      throw new DroverError('STREAM_FAILED', `what is at ${to} is not snapshot ${identity}; send it again`)
    }
    await demandProof(layout.received(id, partial), identity)
    await this.#checkStill(note)
    // Never recorded: a crash came between. It was of this name's last try.
    await trash.put(id, to)
    const uuid = randomUUID()
    return nameArrived(
      this.#parts,
      { id, partial, name },
      { uuid, streamUuid: uuid, treeUuid: identity, device: note.device, fileSystem: note.fileSystem },
    )
  }

  /** Nothing is sealed that is still written, or waits in a journal. @throws VOLUME_BUSY, STREAM_FAILED */
  async #checkStill({ device, fileSystem }: TreeNote): Promise<void> {
    const { devices, mounting, fileSystems } = this.#parts
    if ((await mounting.reach(device)) !== null) {
      throw new DroverError('VOLUME_BUSY', `the device ${devices.name(device)} of what arrived is still mounted`)
    }
    await devices.sync(device)
    if (fileSystem === 'xfs' || (await fileSystems.isClean(fileSystem, await devices.path(device)))) return
    throw new DroverError(
      'STREAM_FAILED',
      `the file system on ${devices.name(device)} was not left clean; send it again`,
    )
  }
}

interface TreeNote extends PartialNote {
  readonly fileSystem: VolumeFileSystem
}
