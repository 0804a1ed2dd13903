import { createHash } from 'node:crypto'
import { mkdir, readdir, rmdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { isErrno } from '../../lib/files.ts'
import type { ZfsCommand } from './zfs-command.ts'

/** Of all backends in this process: what one opens, another must not take for left over. */
const active = new Set<string>()
let sequence = 0

/** Places where only Drover looks, for as long as a piece of work takes. Each is named after its process, so that a later one can tell. */
export class PrivateMounts {
  readonly root: string
  readonly #command: ZfsCommand

  constructor(pool: string, command: ZfsCommand) {
    this.root = join('/run/drover-zfs', createHash('sha256').update(pool).digest('hex').slice(0, 16))
    this.#command = command
  }

  /** @throws DATASET_MISSING, VOLUME_BUSY when it is mounted in another way somewhere */
  async with<T>(name: string, options: { readOnly: boolean }, use: (path: string) => Promise<T>): Promise<T> {
    const path = join(this.root, `${process.pid}-${sequence++}`)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    active.add(path)
    try {
      await mkdir(path, { mode: 0o700 })
      await this.#command.mount(name, path, options)
      return await use(path)
    } finally {
      await this.#remove(path)
      active.delete(path)
    }
  }

  /** Takes down what a crash left. */
  async sweep(): Promise<void> {
    const names = await readdir(this.root).catch((error: unknown): string[] => {
      if (isErrno(error, 'ENOENT')) return []
      throw error
    })
    for (const name of names) {
      const path = join(this.root, name)
      const pid = Number(/^(\d+)-\d+$/.exec(name)?.[1])
      if (Number.isNaN(pid) || active.has(path) || (pid !== process.pid && isRunning(pid))) continue
      await this.#remove(path)
    }
  }

  async #remove(path: string): Promise<void> {
    await this.#command.unmount(path)
    await rmdir(path).catch((error: unknown) => {
      if (!isErrno(error, 'ENOENT')) throw error
    })
  }
}

const isRunning = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return !isErrno(error, 'ESRCH')
  }
}
