import { randomUUID } from 'node:crypto'
import { mkdir, readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { hasCode } from '../../domain/errors.ts'
import type { Logger } from '../../lib/logger.ts'
import { ownMounts } from '../../lib/mountinfo.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { VolumeFileSystem } from './device.ts'
import type { Layout } from './layout.ts'
import type { MountCommand } from './mount-command.ts'

/** Devices mounted for a moment, for our own eyes, below a directory from which nothing spreads to other mount namespaces. */
export class Views {
  readonly #layout: Layout
  readonly #command: MountCommand
  readonly #logger: Logger
  readonly #one = new KeyedMutex<'root'>()
  readonly #shown = new Set<string>()

  constructor(layout: Layout, command: MountCommand, logger: Logger) {
    this.#layout = layout
    this.#command = command
    this.#logger = logger
  }

  /** Takes down what a crash left. */
  async open(): Promise<void> {
    const { views } = this.#layout
    await mkdir(views, { recursive: true, mode: 0o700 })
    const below = (await ownMounts()).filter(({ mountPoint }) => mountPoint.startsWith(`${views}/`))
    for (const { mountPoint } of below.reverse()) await this.#takeDown(mountPoint)
    for (const name of await readdir(views)) await this.#removeDirectory(join(views, name))
  }

  /** The private mount goes when nothing of ours is shown. */
  async close(): Promise<void> {
    await this.#one.run('root', async () => {
      const { views } = this.#layout
      const mounts = (await ownMounts()).filter((each) => each.mountPoint === views)
      for (const _ of mounts) await this.#takeDown(views)
    })
  }

  /**
   * `view`: read-only, without a write to the device, which has to be clean. `writable` replays the journal.
   * @throws what `use` throws; a view that stays busy is left to `open`
   */
  async show<T>(
    device: string,
    fileSystem: VolumeFileSystem,
    how: 'writable' | 'view',
    use: (path: string) => Promise<T>,
  ): Promise<T> {
    await this.#one.run('root', () => this.#ensureRoot())
    const path = join(this.#layout.views, randomUUID())
    await mkdir(path, { mode: 0o700 })
    this.#shown.add(path)
    try {
      await this.#command.mount(device, fileSystem, how, path)
      return await use(path)
    } finally {
      await this.#takeDown(path)
      await this.#removeDirectory(path)
      this.#shown.delete(path)
    }
  }

  async #ensureRoot(): Promise<void> {
    const { views } = this.#layout
    if ((await ownMounts()).some(({ mountPoint }) => mountPoint === views)) return
    await this.#command.bindPrivately(views)
  }

  /** What a command that was killed has left behind ends a moment after it. */
  async #takeDown(path: string, triesLeft = 20): Promise<void> {
    try {
      await this.#command.unmount(path)
    } catch (error) {
      if (!hasCode(error, 'VOLUME_BUSY')) throw error
      if (triesLeft > 0) {
        await sleep(100)
        return this.#takeDown(path, triesLeft - 1)
      }
      this.#logger.warn(
        { path },
        'a snapshot that was looked at stays mounted, as something uses it; the next start unmounts it',
      )
    }
  }

  /** Never what is in it: that may be a snapshot which is still shown. */
  async #removeDirectory(path: string): Promise<void> {
    await rmdir(path).catch((error: unknown) => this.#logger.warn({ path, error: String(error) }, 'a view is left'))
  }
}
