import { randomBytes } from 'node:crypto'
import { open, rename, rm, stat } from 'node:fs/promises'
import { DroverError } from '../domain/errors.ts'
import { isErrno } from '../lib/files.ts'

const reserveBytes = 8 * 2 ** 20

/**
 * Room set aside on the pool: to give anything back, a full pool must still take a note. It is given up for the first note that
 * finds no room and set aside again when there is some.
 */
export class Reserve {
  readonly #path: string
  readonly #settle: () => Promise<void>

  /** @param settle after it the room of a removed file is there to be used */
  constructor(path: string, settle: () => Promise<void>) {
    this.#path = path
    this.#settle = settle
  }

  /** Set aside, unless there is no room for it now. */
  async keep(): Promise<void> {
    const path = this.#path
    if ((await stat(path).catch(() => null)) !== null) return
    const making = `${path}.making`
    try {
      const file = await open(making, 'w', 0o600)
      try {
        // Bytes that no compressing file system makes smaller.
        await file.writeFile(randomBytes(reserveBytes))
        await file.sync()
      } finally {
        await file.close()
      }
      await rename(making, path)
    } catch (error) {
      await rm(making, { force: true })
      if (!isNoSpace(error)) throw error
    }
  }

  /** Does `work`; where that found no room, once more with the reserve given up. */
  async spend<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (!isNoSpace(error)) throw error
      await rm(this.#path, { force: true })
      await this.#settle()
      return await work()
    }
  }
}

export const isNoSpace = (error: unknown): boolean =>
  isErrno(error, 'ENOSPC', 'EDQUOT') || (error instanceof DroverError && error.code === 'NO_SPACE')
