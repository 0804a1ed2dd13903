import { open } from 'node:fs/promises'
import { DroverError } from '../../../../domain/errors.ts'
import { within } from '../../../../lib/deadline.ts'
import type { ArrivalPlace, AttachedDevice, BlockProvider, RangeSource, Seal, Sizing } from '../../device.ts'
import { fileSink } from '../../stream/sink.ts'
import { DraftWriter } from '../direct/draft-writer.ts'
import { ParentBlocks } from '../direct/parent-blocks.ts'
import type { EbsDevices } from '../ebs-devices.ts'
import type { EbsParts } from '../ebs-parts.ts'
import { giveBlocks, type WrittenImage } from './image-blocks.ts'
import type { OpenImage } from './image-notes.ts'
import type { Images } from './images.ts'

/** With less than this left a directory counts as full. */
const fullBytes = 16 * 2 ** 20

/**
 * Devices on EBS of which what is looked at, and what arrives file by file, is a local image: blocks go by the EBS direct API, and no volume is made or
 * attached for it. Where that API cannot be used, all goes by volumes as without images.
 */
export class StagedDevices implements BlockProvider {
  readonly home: string
  readonly clonesMounted: boolean
  readonly defaultBytes: number
  readonly #ebs: EbsDevices
  readonly #images: Images
  readonly #parts: EbsParts
  readonly #puts = new Map<string, { readonly done: Promise<Seal>; readonly stop: AbortController }>()

  constructor(ebs: EbsDevices, images: Images, parts: EbsParts) {
    this.home = ebs.home
    this.clonesMounted = ebs.clonesMounted
    this.defaultBytes = ebs.defaultBytes
    this.#ebs = ebs
    this.#images = images
    this.#parts = parts
  }

  async open(): Promise<void> {
    // What is wrong with the directory shows before anything is asked of EC2.
    await this.#images.open()
    await this.#ebs.open()
    this.#images.start()
  }

  async close(): Promise<void> {
    this.#images.stop()
    for (const { stop } of this.#puts.values()) stop.abort(closing())
    await Promise.allSettled([...this.#puts.values()].map(({ done }) => done))
    await this.#ebs.close()
  }

  async stage(device: string, base: string | null, sizeBytes: number): Promise<void> {
    const isStaged = await this.#images.locked(device, () => this.#stage(device, base, sizeBytes))
    if (isStaged) return
    await (base === null ? this.#ebs.create(device, sizeBytes) : this.#ebs.clone(base, device))
  }

  async #stage(device: string, base: string | null, sizeBytes: number): Promise<boolean> {
    const { files, notes } = this.#images
    if (base !== null && !(await this.#images.shown(base))) return false
    if (!(await this.#ebs.noteArrival(device, base))) return false
    const baseBytes = base === null ? 0 : ((await files.sizeBytes(base)) ?? 0)
    await this.#images.making(device, async () => {
      await (base === null ? files.create(device, 0) : files.clone(base, device))
      await files.grow(device, await this.whole(Math.max(baseBytes, sizeBytes)))
      await notes.write({ device, state: 'open', base })
    })
    return true
  }

  /** Whatever else looks at a snapshot that has no image (a proof while writers stand) does so by a volume. */
  async prefetch(device: string): Promise<void> {
    if ((await this.#open(device)) === null && (await this.#ebs.isSealed(device))) await this.#images.shown(device)
  }

  async refuseIfFull(device: string): Promise<void> {
    const { files } = this.#images
    if ((await this.#open(device)) !== null && (await files.space()).freeBytes < fullBytes) throw files.noSpace()
  }

  async sizeBytes(device: string): Promise<number | null> {
    return (await this.#open(device)) === null ? this.#ebs.sizeBytes(device) : this.#images.files.sizeBytes(device)
  }

  async grow(device: string, sizeBytes: number): Promise<void> {
    if ((await this.#open(device)) === null) return this.#ebs.grow(device, sizeBytes)
    await this.#images.files.grow(device, await this.whole(sizeBytes))
  }

  async path(device: string): Promise<string> {
    return (await this.#image(device)) ? this.#images.files.path(device) : this.#ebs.path(device)
  }

  async mountSource(device: string): Promise<{ source: string; options: readonly string[] }> {
    return (await this.#image(device)) ? this.#images.files.mountSource(device) : this.#ebs.mountSource(device)
  }

  async sync(device: string): Promise<void> {
    await ((await this.#open(device)) === null ? this.#ebs.sync(device) : this.#images.files.sync(device))
  }

  async isHeld(device: string): Promise<boolean> {
    return (await this.#open(device)) === null ? this.#ebs.isHeld(device) : this.#images.files.isHeld(device)
  }

  async attached(device: string): Promise<AttachedDevice | null> {
    return (await this.#open(device)) === null ? this.#ebs.attached(device) : this.#images.files.attached(device)
  }

  async remove(device: string): Promise<void> {
    this.#puts.get(device)?.stop.abort(removed(this.name(device)))
    await this.#images.locked(device, () => this.#images.clear(device))
    await this.#ebs.remove(device)
  }

  /**
   * What was written to an image becomes a snapshot, and the image stays as what it is an image of. @throws TIMED_OUT with `pending`: it takes longer
   * than one should wait, and goes on; to be asked again
   */
  async seal(device: string): Promise<Seal> {
    if ((await this.#open(device)) === null) return this.#ebs.seal(device)
    const late = new DroverError(
      'TIMED_OUT',
      `the blocks of ${this.name(device)} are being put into EBS, and not all of them are there yet`,
      { details: { pending: true } },
    )
    const { clock, surroundings } = this.#parts
    return within(clock, surroundings.limits.put, this.#sealing(device), () => late)
  }

  /** Joins what was begun. */
  #sealing(device: string): Promise<Seal> {
    const begun = this.#puts.get(device)
    if (begun !== undefined) return begun.done
    const stop = new AbortController()
    const done = this.#images
      .locked(device, async () => {
        const note = await this.#open(device)
        if (note !== null && !(await this.#ebs.isSealed(device))) await this.#give(note, stop.signal)
        const seal = await this.#ebs.seal(device)
        await this.#images.keep(device)
        return seal
      })
      .finally(() => this.#puts.delete(device))
    // Who asks again after it failed begins anew.
    done.catch(() => {})
    this.#puts.set(device, { done, stop })
    return done
  }

  async #give({ device, base }: OpenImage, signal: AbortSignal): Promise<void> {
    const { files, notes } = this.#images
    const sizeBytes = await files.sizeBytes(device)
    if (sizeBytes === null || (base !== null && !(await this.#images.shown(base)))) {
      throw new DroverError(
        'STREAM_FAILED',
        `the image of what arrived for ${this.name(device)}, or that of its base, is not there; send it again`,
      )
    }
    // First: what is put is what the image holds from now on.
    await notes.write({ device, state: 'open', base, seal: await files.seal(device) })
    const image: WrittenImage = {
      ...{ path: files.name(device), basePath: base === null ? null : files.name(base), sizeBytes },
      ranges: await files.ranges(),
    }
    try {
      await this.#put(image, await this.#ebs.place(device, sizeBytes), signal)
    } catch (error) {
      await this.#ebs.gaveUp(device)
      throw error
    }
  }

  async #put(image: WrittenImage, place: ArrivalPlace, signal: AbortSignal): Promise<void> {
    if ('draft' in place) {
      const { blocks, writes } = this.#parts.direct
      const { snapshotId, parent } = place.draft
      const writer = new DraftWriter(writes, snapshotId, parent === null ? null : new ParentBlocks(blocks, parent))
      await giveBlocks(image, writer, signal)
      return writer.end()
    }
    const disk = await open(place.path, 'r+')
    try {
      await giveBlocks(image, fileSink(disk, null), signal)
      await disk.sync()
    } finally {
      await disk.close()
    }
  }

  async #open(device: string): Promise<OpenImage | null> {
    const note = await this.#images.notes.read(device)
    return note?.state === 'open' ? note : null
  }

  /** There is an image of it. */
  async #image(device: string): Promise<boolean> {
    return (await this.#open(device)) !== null || ((await this.#ebs.isSealed(device)) && this.#images.has(device))
  }

  /* All else is EBS's. */

  space(): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#ebs.space()
  }

  whole(bytes: number): Promise<number> {
    return this.#ebs.whole(bytes)
  }

  create(device: string, sizeBytes: number): Promise<void> {
    return this.#ebs.create(device, sizeBytes)
  }

  shrink(device: string, sizeBytes: number): Promise<void> {
    return this.#ebs.shrink(device, sizeBytes)
  }

  clone(...of: Parameters<EbsDevices['clone']>): Promise<void> {
    return this.#ebs.clone(...of)
  }

  ranges(): Promise<RangeSource> {
    return this.#ebs.ranges()
  }

  content(...of: Parameters<EbsDevices['content']>): ReturnType<EbsDevices['content']> {
    return this.#ebs.content(...of)
  }

  changes(...of: Parameters<EbsDevices['changes']>): ReturnType<EbsDevices['changes']> {
    return this.#ebs.changes(...of)
  }

  sizing(device: string): Sizing {
    return this.#ebs.sizing(device)
  }

  arrive(device: string, base: string | null): Promise<void> {
    return this.#ebs.arrive(device, base)
  }

  isSealed(device: string): Promise<boolean> {
    return this.#ebs.isSealed(device)
  }

  sealable(device: string, signal: AbortSignal): Promise<void> {
    return this.#ebs.sealable(device, signal)
  }

  isIntact(device: string, seal: Seal): Promise<boolean> {
    return this.#ebs.isIntact(device, seal)
  }

  generation(device: string): Promise<number> {
    return this.#ebs.generation(device)
  }

  writtenSince(device: string, clone: string): Promise<number | null> {
    return this.#ebs.writtenSince(device, clone)
  }

  usedBytes(devices: readonly string[]): Promise<Map<string, number>> {
    return this.#ebs.usedBytes(devices)
  }

  name(device: string): string {
    return this.#ebs.name(device)
  }
}

const closing = () => new DroverError('TIMED_OUT', 'the pool is being closed; ask again when it is open')

const removed = (name: string) => new DroverError('DATASET_MISSING', `${name} is being removed`)
