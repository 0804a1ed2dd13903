import { randomUUID } from 'node:crypto'
import { lstat, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isErrno, syncDirectory } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import { RemovalQueue } from '../removal-queue.ts'
import type { Reserve } from '../reserve.ts'
import type { BlockProvider } from './device.ts'
import type { Layout } from './layout.ts'
import { devicesNotedIn, readNote } from './notes.ts'

/** Only what bears such a name is ours to remove: a volume's directory, or a single note. */
const entryShape = /^[0-9a-z]{26}~[0-9a-f-]{36}(\.json)?$/

/**
 * Removal in two parts: the note goes out of sight in one durable rename, its devices in the background. What a crash interrupts, the
 * next `sweep` takes up.
 */
export class Trash extends RemovalQueue {
  readonly #layout: Layout
  readonly #devices: BlockProvider
  readonly #reserve: Reserve
  readonly #logger: Logger

  constructor(layout: Layout, devices: BlockProvider, reserve: Reserve, logger: Logger) {
    super()
    this.#layout = layout
    this.#devices = devices
    this.#reserve = reserve
    this.#logger = logger
  }

  /** Puts a note, or the directory of a volume, out of sight; durable when it returns. The absent is a success. */
  async put(id: string, path: string): Promise<void> {
    const isNote = path.endsWith('.json')
    const entry = join(this.#layout.trash, `${id}~${randomUUID()}${isNote ? '.json' : ''}`)
    try {
      await this.#reserve.spend(() => rename(path, entry))
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return
      throw error
    }
    await syncDirectory(this.#layout.trash)
    await syncDirectory(dirname(path))
    this.sweep()
  }

  protected async empty(): Promise<void> {
    for (const name of await this.entries()) {
      if (this.closing.signal.aborted) return
      const entry = join(this.#layout.trash, name)
      try {
        for (const device of await this.#devicesOf(entry)) await this.#devices.remove(device)
        await rm(entry, { recursive: true, force: true })
      } catch (error) {
        this.#logger.warn({ entry, err: error }, 'removal did not end; it is tried again at the next removal or start')
      }
    }
    try {
      await this.#reserve.keep()
    } catch (error) {
      this.#logger.warn({ err: error }, 'no room could be set aside for notes of a full pool')
    }
  }

  protected async entries(): Promise<string[]> {
    const names = await readdir(this.#layout.trash).catch((): string[] => [])
    return names.filter((name) => entryShape.test(name))
  }

  async #devicesOf(entry: string): Promise<string[]> {
    if ((await lstat(entry)).isDirectory()) return devicesNotedIn(entry)
    const note = await readNote(entry)
    return note === null ? [] : [note.device]
  }
}
