import { DroverError } from '../../../domain/errors.ts'
import { type VolumeId, volumeId } from '../../../domain/ids.ts'
import { writeJsonDurably } from '../../../lib/files.ts'
import type { Handover, HandoverFacet, LiveDataset } from '../../backend.ts'
import type { LiveNote } from '../device.ts'
import { Layout } from '../layout.ts'
import { devicesNotedIn, dropNote, missing, parseNote, readNote } from '../notes.ts'
import type { EbsDevices } from './ebs-devices.ts'
import type { EbsParts } from './ebs-parts.ts'

/**
 * Live datasets that go from one instance to another by detaching here and attaching there (see passing.ts). Devices keep their names, so a note that is
 * given up never goes the way of removals: what is still to be removed there might by then be the volume that has come back.
 */
export class EbsHandover implements HandoverFacet {
  readonly #parts: EbsParts
  readonly #devices: EbsDevices
  readonly #layout: Layout

  constructor(parts: EbsParts, devices: EbsDevices) {
    this.#parts = parts
    this.#devices = devices
    this.#layout = new Layout(devices.home)
  }

  /** In one zone of one account; options say how volumes are made, so those of other options are copied. */
  async reach(): Promise<string> {
    const { identity, surroundings, pool } = this.#parts
    const { account, zone } = await identity()
    return [pool.likeness, account, zone, surroundings.cluster()].join(' ')
  }

  async place(): Promise<string> {
    return (await this.#parts.identity()).instanceId
  }

  async describe(id: VolumeId, to: string | null): Promise<Handover> {
    const live = await this.#must(id)
    return { live, storage: await this.#devices.pass(live.device, (passing, entry) => passing.offer(entry, to)) }
  }

  async letGo(id: VolumeId): Promise<void> {
    const { device } = await this.#must(id)
    await this.#devices.pass(device, (passing, entry) => passing.letGo(entry))
  }

  async expect(id: VolumeId, { live, storage }: Handover): Promise<LiveDataset> {
    const note = parseNote(JSON.stringify(live)) as LiveNote | null
    if (note === null || note.volumeId !== id || typeof note.uuid !== 'string') {
      throw new DroverError(
        'DATASET_FOREIGN',
        `what was told of volume ${id} is not understood; run one version of Drover`,
      )
    }
    const { device, uuid, sizeBytes } = note
    const there = await readNote<LiveNote>(this.#layout.live(id))
    if (there !== null && there.device !== device) {
      throw new DroverError('DIVERGED', `volume ${id} has another live dataset here; both are left alone`, {
        details: { live: there, expected: note },
      })
    }
    if (there === null) {
      if ((await devicesNotedIn(this.#layout.trash)).includes(device)) {
        throw new DroverError('VOLUME_BUSY', `${this.#devices.name(device)} is still being removed here; try again`)
      }
      await this.#devices.expect(storage, device)
      await writeJsonDurably(this.#layout.live(id), note)
    }
    return { uuid, sizeBytes, generation: await this.#devices.generation(device) }
  }

  async take(id: VolumeId): Promise<void> {
    const { device } = await this.#must(id)
    await this.#devices.pass(device, async (passing, entry) => {
      if (entry.passing !== undefined) await passing.take(entry)
    })
  }

  async reclaim(id: VolumeId): Promise<void> {
    const { device } = await this.#must(id)
    await this.#devices.pass(device, (passing, entry) => passing.reclaim(entry))
  }

  /** The owner's: nothing of it is on its way any more. */
  async keep(id: VolumeId): Promise<void> {
    const note = await readNote<LiveNote>(this.#layout.live(id))
    if (note === null || (await this.#devices.sizeBytes(note.device)) === null) return
    await this.#devices.pass(note.device, (passing, entry) => passing.keep(entry))
  }

  /** The notes of a live dataset that is on its way; any other is left as it is. @throws VOLUME_BUSY, TIMED_OUT when it is still attached here */
  async forget(id: VolumeId): Promise<void> {
    const note = await readNote<LiveNote>(this.#layout.live(id))
    const entry = note === null ? null : await this.#parts.ledger.read(note.device)
    if (note === null || entry?.passing === undefined) return
    await this.#devices.pass(note.device, (passing, now) => passing.giveUp(now))
    await dropNote(this.#layout.live(id))
    await this.#parts.ledger.drop(note.device)
  }

  /** At a start: what a crash left between a record and its notes. What cannot be read is left alone, and keeps no other volume from its start. */
  async settle(isOwned: (id: VolumeId) => Promise<boolean>): Promise<void> {
    const { ledger, logger } = this.#parts
    for (const { device, passing } of await ledger.all()) {
      if (passing === undefined) continue
      try {
        const id = volumeId(device.slice(0, device.indexOf('.')))
        if ((await readNote<LiveNote>(this.#layout.live(id)))?.device !== device) await ledger.drop(device)
        else if (await isOwned(id)) await this.keep(id)
      } catch (error) {
        logger.warn({ device, err: error }, 'a volume on its way between two hosts is left as it is')
      }
    }
  }

  async #must(id: VolumeId): Promise<LiveNote> {
    const path = this.#layout.live(id)
    return (await readNote<LiveNote>(path)) ?? Promise.reject(missing(path))
  }
}
