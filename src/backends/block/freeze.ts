import { readdir, rm, writeFile } from 'node:fs/promises'
import { isId, type VolumeId, volumeId } from '../../domain/ids.ts'
import { readIfExists } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import type { BlockProvider } from './device.ts'
import type { Layout } from './layout.ts'
import type { MountCommand } from './mount-command.ts'
import type { Mounting } from './mounting.ts'

const thawTries = 5

interface Parts {
  readonly layout: Layout
  readonly devices: BlockProvider
  readonly mounting: Mounting
  readonly command: MountCommand
  readonly logger: Logger
}

/**
 * A frozen file system keeps its writers waiting for ever, so whoever froze it must be known: a marker beside the volume stands from
 * before the freeze until after the thaw. It names our freeze only: what an administrator froze is not thawed by us.
 */
export class Freeze {
  readonly #layout: Layout
  readonly #devices: BlockProvider
  readonly #mounting: Mounting
  readonly #command: MountCommand
  readonly #logger: Logger

  constructor(parts: Parts) {
    this.#layout = parts.layout
    this.#devices = parts.devices
    this.#mounting = parts.mounting
    this.#command = parts.command
    this.#logger = parts.logger
  }

  /** Runs `work` while nothing writes to the device: frozen where it is mounted, held unmounted where it is not. */
  async hold<T>(id: VolumeId, device: string, work: (isMounted: boolean) => Promise<T>): Promise<T> {
    return this.#mounting.exclusively(id, async () => {
      const path = await this.#mounting.reach(device)
      if (path === null) return work(false)
      await this.#command.trim(path)
      // Two freezes of one file system are an error to older kernels.
      if (this.#devices.clonesMounted) return work(true)
      // A crash of the kernel thaws by itself: the marker need not be durable.
      await writeFile(this.#layout.frozen(id), '')
      try {
        await this.#command.freeze(path)
        return await work(true)
      } finally {
        await this.#thaw(id, path)
      }
    })
  }

  /** What a crash left frozen writes again. */
  async open(): Promise<void> {
    for (const name of (await readdir(this.#layout.volumes)).filter(isId)) {
      const id = volumeId(name)
      if ((await readIfExists(this.#layout.frozen(id))) === null) continue
      const note = await this.#mounting.note(id)
      const path = note === null ? null : await this.#mounting.reach(note.device)
      this.#logger.warn({ volume: id, path }, 'a snapshot was cut off while the file system was frozen; it is thawed')
      if (path === null) await rm(this.#layout.frozen(id), { force: true })
      else await this.#thaw(id, path)
    }
  }

  async #thaw(id: VolumeId, path: string): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      try {
        await this.#command.thaw(path)
        break
      } catch (error) {
        this.#logger.error({ volume: id, path, err: error }, 'the file system could not be thawed')
        // The marker stays, so the next start tries again.
        if (tries >= thawTries) throw error
      }
    }
    await rm(this.#layout.frozen(id), { force: true })
  }
}
