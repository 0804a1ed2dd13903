import { lstat } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../../../domain/errors.ts'
import { every } from '../../../../lib/clock.ts'
import type { Exec } from '../../../../lib/exec.ts'
import { isErrno } from '../../../../lib/files.ts'
import { KeyedMutex } from '../../../../lib/mutex.ts'
import { LoopDevices } from '../../loop/loop-devices.ts'
import type { EbsDevices } from '../ebs-devices.ts'
import type { EbsParts } from '../ebs-parts.ts'
import type { Entry } from '../ledger.ts'
import { fetchBlocks } from './image-blocks.ts'
import { ImageNotes, type WholeImage } from './image-notes.ts'

/**
 * Images of snapshots, in files of a directory of this host. Each is made for one device, which is never another snapshot's, and counts only when it has
 * been sealed after its last byte (see LoopDevices) and that seal noted: what a crash leaves counts as nothing, and so does what somebody wrote to.
 */
export class Images {
  readonly files: LoopDevices
  readonly notes: ImageNotes
  readonly #parts: EbsParts
  readonly #content: EbsDevices['content']
  readonly #directory: string
  readonly #what: string
  readonly #one = new KeyedMutex<string>()
  readonly #askedAt = new Map<string, number>()
  #stopSweeps: () => void = () => {}

  constructor(parts: EbsParts, home: string, content: EbsDevices['content'], exec: Exec) {
    this.#parts = parts
    this.#content = content
    this.#directory = join(home, 'drover-images')
    this.#what = `the staging directory ${home} of pool ${parts.pool.spec}`
    this.files = new LoopDevices({ home, directory: this.#directory, what: this.#what }, exec)
    this.notes = new ImageNotes(parts.surroundings.home)
  }

  /** @throws BAD_CONFIG, NOT_PERMITTED */
  async open(): Promise<void> {
    await this.#refuseOthers()
    await this.files.open()
    await this.notes.open()
    for (const note of await this.notes.all()) {
      if (note.state === 'open') continue
      try {
        if (await this.isWhole(note.device)) this.#touch(note.device)
        else await this.clear(note.device)
      } catch (error) {
        this.#parts.logger.warn({ device: note.device, err: error }, 'an image of a snapshot is left')
      }
    }
  }

  /** From now on those that nobody asks for go. */
  start(): void {
    this.stop()
    this.#stopSweeps = every(this.#parts.clock, this.#parts.surroundings.limits.view, () => void this.#sweep())
  }

  stop(): void {
    this.#stopSweeps()
    this.#stopSweeps = () => {}
  }

  locked<T>(device: string, work: () => Promise<T>): Promise<T> {
    return this.#one.run(device, work)
  }

  /** It is there already. */
  has(device: string): Promise<boolean> {
    return this.locked(device, async () => {
      this.#touch(device)
      return this.isWhole(device)
    })
  }

  /** The image of a sealed device is there, fetched if need be. False: its snapshot cannot be read by the direct API now. @throws NO_SPACE, STREAM_FAILED */
  shown(device: string): Promise<boolean> {
    return this.locked(device, async () => {
      this.#touch(device)
      if (await this.isWhole(device)) return true
      const entry = await this.#parts.ledger.read(device)
      return entry !== null && entry.sealMark !== null && this.#fetch(entry)
    })
  }

  async isWhole(device: string): Promise<boolean> {
    const note = await this.notes.read(device)
    if (note?.state !== 'whole' || !(await this.files.isIntact(device, note.seal))) return false
    return (await this.#parts.ledger.read(device))?.snapshot?.snapshotId === note.snapshotId
  }

  /** What was sealed as the device is kept as its image. */
  async keep(device: string): Promise<void> {
    const note = await this.notes.read(device)
    const snapshotId = (await this.#parts.ledger.read(device))?.snapshot?.snapshotId ?? null
    const seal = note?.state === 'open' ? note.seal : undefined
    if (snapshotId === null || seal === undefined || !(await this.files.isIntact(device, seal))) {
      return this.clear(device)
    }
    await this.notes.write({ device, state: 'whole', snapshotId, seal })
    this.#touch(device)
  }

  /** Image and note go; what has no note was made by somebody else. */
  async clear(device: string): Promise<void> {
    if ((await this.notes.read(device)) === null) return
    await this.files.remove(device)
    await this.notes.drop(device)
    this.#askedAt.delete(device)
  }

  /** Makes the image by `work`; when that fails nothing is left. @throws NO_SPACE */
  async making(device: string, work: () => Promise<void>): Promise<void> {
    await this.clear(device)
    await this.notes.write({ device, state: 'making' })
    try {
      await work()
    } catch (error) {
      await this.clear(device)
      if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
      throw this.files.noSpace(error)
    }
  }

  async #fetch(entry: Entry): Promise<boolean> {
    const base = await this.#baseFor(entry)
    return (base !== null && (await this.#take(entry, base))) || this.#take(entry, null)
  }

  /** False: not upon this base, or not by the direct API at all. The base is held only while it is cloned. */
  async #take({ device, sizeBytes }: Entry, base: string | null): Promise<boolean> {
    const { files, notes } = this
    const content = await this.#content(device, base)
    if (content === null) return false
    let isBegun = false
    await this.making(device, async () => {
      isBegun = base === null ? await this.#blank(device) : await this.locked(base, () => this.#cloned(base, device))
      if (!isBegun) return
      await files.grow(device, sizeBytes)
      await fetchBlocks(this.#parts.direct.blocks, content, { path: files.name(device), sizeBytes })
      const seal = await files.seal(device)
      await notes.write({ device, state: 'whole', snapshotId: content.snapshotId, seal })
    })
    if (!isBegun) await this.clear(device)
    return isBegun
  }

  async #blank(device: string): Promise<true> {
    await this.files.create(device, 0)
    return true
  }

  async #cloned(base: string, device: string): Promise<boolean> {
    if (!(await this.isWhole(base))) return false
    await this.files.clone(base, device)
    return true
  }

  /** The last snapshot of the same volume before it of which there is an image. */
  async #baseFor({ device, sealMark, sizeBytes }: Entry): Promise<string | null> {
    const { ledger } = this.#parts
    let best: Entry | null = null
    for (const note of await this.#wholeOf(device)) {
      const entry = await ledger.read(note.device)
      if (entry?.sealMark == null || entry.sealMark >= (sealMark ?? 0) || entry.sizeBytes > sizeBytes) continue
      if (entry.snapshot?.snapshotId === note.snapshotId && entry.sealMark > (best?.sealMark ?? 0)) best = entry
    }
    return best?.device ?? null
  }

  /** Of the device's volume. */
  async #wholeOf(device: string): Promise<WholeImage[]> {
    const volume = device.slice(0, device.indexOf('.') + 1)
    return (await this.notes.all()).filter((note): note is WholeImage => {
      return note.state === 'whole' && note.device.startsWith(volume)
    })
  }

  /** The newest of each volume is what the next move goes upon: it stays for longer. Never one that is in use. */
  async #sweep(): Promise<void> {
    const { ledger, logger, surroundings } = this.#parts
    try {
      const notes = await this.notes.all()
      const bases = new Set(notes.map((note) => (note.state === 'open' ? note.base : null)))
      for (const note of notes) {
        if (note.state !== 'whole' || bases.has(note.device)) continue
        const marks = (await this.#wholeOf(note.device)).map(async (each) => {
          return (await ledger.read(each.device))?.sealMark ?? 0
        })
        const mark = (await ledger.read(note.device))?.sealMark ?? 0
        const isNewest = mark >= Math.max(...(await Promise.all(marks)))
        const { image, view } = surroundings.limits
        await this.locked(note.device, async () => {
          if (this.#idleMs(note.device) < (isNewest ? image : view) || (await this.files.isHeld(note.device))) return
          await this.clear(note.device)
        })
      }
    } catch (error) {
      logger.warn({ err: error }, 'an image of a snapshot is left; it is tried again')
    }
  }

  #touch(device: string): void {
    this.#askedAt.set(device, this.#parts.clock.monotonic())
  }

  #idleMs(device: string): number {
    const now = this.#parts.clock.monotonic()
    const askedAt = this.#askedAt.get(device) ?? now
    this.#askedAt.set(device, askedAt)
    return now - askedAt
  }

  /** What stands there under our name and is not as we make it is left alone. @throws BAD_CONFIG */
  async #refuseOthers(): Promise<void> {
    const found = await lstat(this.#directory).catch((error: unknown) => {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
      throw error
    })
    if (found === null || (found.isDirectory() && found.uid === 0 && (found.mode & 0o077) === 0)) return
    throw new DroverError(
      'BAD_CONFIG',
      `${this.#what}: ${this.#directory} was not made by Drover and is left alone; name another directory`,
    )
  }
}
