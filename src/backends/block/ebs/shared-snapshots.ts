import { randomUUID } from 'node:crypto'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { SnapshotRecord } from '../../../domain/dataset.ts'
import { DroverError } from '../../../domain/errors.ts'
import type { VolumeId } from '../../../domain/ids.ts'
import { readIfExists } from '../../../lib/files.ts'
import type { Argv, SharedSnapshotFacet, StreamFacet } from '../../backend.ts'
import { type ArrivalParts, nameArrived } from '../arrival.ts'
import type { PartialNote, SnapshotNote } from '../device.ts'
import { missing, newDevice, readNote } from '../notes.ts'
import { asRecord } from '../snapshots.ts'
import type { EbsDevices } from './ebs-devices.ts'
import type { EbsParts } from './ebs-parts.ts'
import { parseTelling, type SnapshotTelling } from './told-snapshot.ts'

const own = fileURLToPath(import.meta.url)
const mainPath = own.replace(/shared-snapshots\.[jt]s$/, `telling-main${extname(own)}`)

/**
 * Between zones of a region a volume goes by EC2's own snapshots, which belong to the region: the target makes its volume of the one that the source has
 * told of. Each is the source's, tagged for its device there; EC2 itself keeps what one shares with the one before, so that none is received upon another.
 * Between regions the target has EC2 copy each, and the copy is the target's.
 */
export class EbsSharedSnapshots implements SharedSnapshotFacet {
  readonly #parts: EbsParts
  readonly #devices: EbsDevices
  readonly #arrivals: ArrivalParts
  readonly #streams: Pick<StreamFacet, 'abortReceive'>

  constructor(
    parts: EbsParts,
    devices: EbsDevices,
    arrivals: ArrivalParts,
    streams: Pick<StreamFacet, 'abortReceive'>,
  ) {
    this.#parts = parts
    this.#devices = devices
    this.#arrivals = arrivals
    this.#streams = streams
  }

  /** In one account; options say how volumes are made and encrypted, so those of other options go by streams. */
  async reach(): Promise<{ reach: string; place: string }> {
    const { identity, surroundings, pool } = this.#parts
    const { account, region } = await identity()
    return { reach: [pool.likeness, account, surroundings.cluster()].join(' '), place: region }
  }

  async sendCommand(id: VolumeId, snapshot: string): Promise<Argv> {
    const path = this.#arrivals.layout.snapshot(id, snapshot)
    const note = await readNote<SnapshotNote>(path)
    if (note === null) throw missing(path)
    const telling: SnapshotTelling = {
      ...{ format: 'drover-ebs-snapshot-1', streamUuid: note.streamUuid, fileSystem: note.fileSystem },
      ...(await this.#devices.told(note.device)),
    }
    return [process.execPath, mainPath, 'tell', JSON.stringify(telling)]
  }

  async prepareReceive(id: VolumeId, partial: string): Promise<Argv> {
    const { layout, notes } = this.#arrivals
    await this.#streams.abortReceive(id, partial)
    const note: PartialNote = { device: newDevice(id), volumeId: id }
    await notes.directory(id, layout.partials(id))
    await notes.write(layout.partial(id, partial), note)
    return [process.execPath, mainPath, 'note', layout.received(id, partial)]
  }

  async finishReceive(id: VolumeId, partial: string, name: string, expected: string): Promise<SnapshotRecord> {
    const { layout, devices } = this.#arrivals
    const there = await readNote<SnapshotNote>(layout.snapshot(id, name))
    if (there !== null) {
      if (there.streamUuid === expected && (await devices.isSealed(there.device))) return asRecord(name, there, 'move')
      throw other(id, there.streamUuid, expected)
    }
    const note = await readNote<PartialNote>(layout.partial(id, partial))
    const text = await readIfExists(layout.received(id, partial))
    if (note === null || text === null) {
      throw new DroverError('DATASET_MISSING', `no snapshot of volume ${id} was told of here; move it again`)
    }
    const told = parseTelling(text)
    if (told === null || !told.device.startsWith(`${id}.`) || told.streamUuid !== expected)
      throw other(id, text, expected)
    const { device, snapshotId, region, sizeBytes, streamUuid, fileSystem } = told
    await this.#devices.adopt(note.device, { device, snapshotId, region, sizeBytes })
    const arrived = { uuid: randomUUID(), streamUuid, device: note.device, fileSystem }
    return nameArrived(this.#arrivals, { id, partial, name }, arrived)
  }
}

const other = (id: VolumeId, found: string, expected: string): DroverError =>
  new DroverError(
    'STREAM_FAILED',
    `what was told of volume ${id} is ${found.slice(0, 200)}, not snapshot ${expected}; move it again`,
  )
