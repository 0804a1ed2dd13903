import { randomUUID } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SnapshotRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import { isErrno, readIfExists } from '../../lib/files.ts'
import type { Argv, LiveDataset, StreamFacet } from '../backend.ts'
import { nameArrived } from './arrival.ts'
import { type BlockProvider, canSettle, type PartialNote, type SnapshotNote } from './device.ts'
import { besideEndings, type Layout } from './layout.ts'
import type { LiveDatasets } from './live-datasets.ts'
import { missing, type Notes, newDevice, notesIn, readNote } from './notes.ts'
import { Resuming } from './resuming.ts'
import { asRecord, type Snapshots } from './snapshots.ts'
import type { Arrived } from './stream/arrived.ts'
import type { StreamHead } from './stream/format.ts'
import type { ReceiveOrder } from './stream/receive.ts'
import type { SendOrder } from './stream/send.ts'
import type { Trash } from './trash.ts'

const own = fileURLToPath(import.meta.url)
/** Beside this file, as .ts in development and as .js when compiled. */
const mainPath = own.replace(/streams\.[jt]s$/, `stream/main${extname(own)}`)

interface Parts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly notes: Notes
  readonly trash: Trash
  readonly snapshots: Snapshots
  readonly live: LiveDatasets
  readonly clock: Clock
}

/** Streams of blocks (stream/format.ts), written and read by a process of our own. */
export class Streams implements StreamFacet {
  readonly format = 'drover-blocks-1'
  readonly resuming?: Resuming
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
    const { layout, devices, notes, snapshots } = parts
    if (!canSettle(devices)) return
    this.resuming = new Resuming({
      ...{ layout, devices, notes, snapshots },
      send: (id, snapshot, base, resumedAt) => this.#send(id, snapshot, base, { resumedAt }),
      receive: (of, arrived) => this.#receive(of, arrived),
      find: (id, name) => this.#mustFind(id, name),
    })
  }

  sendCommand(id: VolumeId, snapshot: string, base: string | null): Promise<Argv> {
    return this.#send(id, snapshot, base, {})
  }

  async #send(id: VolumeId, snapshot: string, base: string | null, from: { resumedAt?: number }): Promise<Argv> {
    const { devices } = this.#parts
    const note = await this.#mustFind(id, snapshot)
    const baseNote = base === null ? null : await this.#mustFind(id, base)
    const sizeBytes = await devices.sizeBytes(note.device)
    if (sizeBytes === null) throw missing(devices.name(note.device))
    const head: StreamHead = {
      ...{ streamUuid: note.streamUuid, baseUuid: baseNote?.streamUuid ?? null },
      ...{ sizeBytes, fileSystem: note.fileSystem, ...from },
    }
    const content = await devices.content?.(note.device, baseNote?.device ?? null)
    const order: SendOrder =
      content == null ? { head, ...(await this.#paths(note.device, baseNote?.device ?? null)) } : { head, content }
    return [process.execPath, mainPath, 'send', JSON.stringify(order)]
  }

  async #paths(device: string, base: string | null) {
    const { devices } = this.#parts
    return {
      path: await devices.path(device),
      basePath: base === null ? null : await devices.path(base),
      ranges: await devices.ranges(device, base),
    }
  }

  async prepareReceive(id: VolumeId, partial: string, baseUuid: string | null = null): Promise<Argv> {
    const { layout, notes, devices, snapshots } = this.#parts
    await this.abortReceive(id, partial)
    const base = baseUuid === null ? null : (await snapshots.all(id)).find(({ note }) => note.streamUuid === baseUuid)
    if (base === undefined || (base !== null && !(await snapshots.isWhole(base.note)))) {
      throw new DroverError(
        'DATASET_MISSING',
        `volume ${id} has no snapshot ${baseUuid} here that a stream could go upon; send it whole`,
      )
    }
    const note: PartialNote = { device: newDevice(id), volumeId: id }
    await notes.directory(id, layout.partials(id))
    await notes.write(layout.partial(id, partial), note)
    if (devices.arrive !== undefined) await devices.arrive(note.device, base?.note.device ?? null)
    else if (base === null) await devices.create(note.device, 0)
    else await devices.clone(base.note.device, note.device)
    return this.#receive({ id, partial, device: note.device, baseUuid })
  }

  async #receive(
    { id, partial, device, baseUuid }: { id: VolumeId; partial: string; device: string; baseUuid: string | null },
    arrived?: Arrived,
  ): Promise<Argv> {
    const { layout, devices } = this.#parts
    const order: ReceiveOrder = {
      ...{ path: await devices.path(device), baseUuid, proofPath: layout.received(id, partial) },
      sizing: devices.sizing(device),
      ...(this.resuming === undefined ? {} : { progress: { ...layout.progress(id, partial), device } }),
      ...(arrived === undefined ? {} : { arrived }),
    }
    return [process.execPath, mainPath, 'receive', JSON.stringify(order)]
  }

  async finishReceive(id: VolumeId, partial: string, name: string, expected: string): Promise<SnapshotRecord> {
    const { layout, devices } = this.#parts
    const to = layout.snapshot(id, name)
    const there = await readNote<SnapshotNote>(to)
    if (there !== null) {
      if (!(await devices.isSealed(there.device)) || there.streamUuid !== expected)
        throw other(to, there.streamUuid, expected)
      return asRecord(name, there, 'move')
    }
    const from = layout.partial(id, partial)
    const note = await readNote<PartialNote>(from)
    const proof = await readIfExists(layout.received(id, partial))
    if (note === null || proof === null) {
      throw new DroverError('DATASET_MISSING', `no snapshot arrived at ${from}; send it again`)
    }
    const head = JSON.parse(proof) as StreamHead
    if (head.streamUuid !== expected) throw other(from, head.streamUuid, expected)
    if ((await devices.sizeBytes(note.device)) !== (await devices.whole(head.sizeBytes)))
      throw other(from, 'of another size', expected)
    return nameArrived(
      this.#parts,
      { id, partial, name },
      { uuid: randomUUID(), streamUuid: head.streamUuid, device: note.device, fileSystem: head.fileSystem },
    )
  }

  /** The proof first: never may it be taken for that of a later try. */
  async abortReceive(id: VolumeId, partial: string): Promise<void> {
    const { layout, notes, trash } = this.#parts
    for (const path of layout.beside(id, partial)) await notes.drop(path)
    await trash.put(id, layout.partial(id, partial))
  }

  async partials(id: VolumeId): Promise<string[]> {
    const { layout } = this.#parts
    const names = new Set(await notesIn(layout.partials(id)))
    for (const name of await filesIn(layout.partials(id))) {
      const ending = besideEndings.find((each) => name.endsWith(each))
      if (ending !== undefined) names.add(name.slice(0, -ending.length))
    }
    return [...names]
  }

  promote(id: VolumeId, snapshot: string, options: { sizeBytes: number | null }): Promise<LiveDataset> {
    return this.#parts.live.promote(id, snapshot, options.sizeBytes)
  }

  async #mustFind(id: VolumeId, name: string): Promise<SnapshotNote> {
    const path = this.#parts.layout.snapshot(id, name)
    const note = await readNote<SnapshotNote>(path)
    if (note === null) throw missing(path)
    return note
  }
}

const other = (path: string, found: string, expected: string): DroverError =>
  new DroverError('STREAM_FAILED', `what arrived at ${path} is ${found}, not snapshot ${expected}; send it again`)

const filesIn = async (directory: string): Promise<string[]> => {
  try {
    return await readdir(directory)
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return []
    throw error
  }
}
