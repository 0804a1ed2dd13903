import { dirname } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import { isId } from '../../domain/ids.ts'
import type { Files } from '../../lib/files.ts'

const remembered = 256

/**
 * The content proofs of moves that have ended here, on disk: a call that comes late, be it after a restart, would begin one again, and
 * nobody would end that.
 */
export class EndedProofs {
  readonly #files: Files
  readonly #path: string
  #ids: Promise<Set<string>> | null = null

  constructor(files: Files, path: string) {
    this.#files = files
    this.#path = path
  }

  /** Those of `vol verify` have the same name each time. Durable when it returns. */
  async add(id: string): Promise<void> {
    if (!isId(id)) return
    const ids = await this.#known()
    if (ids.has(id)) return
    ids.add(id)
    for (const oldest of ids) {
      if (ids.size <= remembered) break
      ids.delete(oldest)
    }
    await this.#files.ensureDirectory(dirname(this.#path))
    await this.#files.writeJsonDurably(this.#path, [...ids])
  }

  /** Does `work` at once after the check, so that no end comes between. @throws STALE_EPOCH */
  async unlessEnded<T>(id: string, work: () => T): Promise<T> {
    if ((await this.#known()).has(id)) {
      throw new DroverError('STALE_EPOCH', `the content proof of move ${id} has ended here`)
    }
    return work()
  }

  #known(): Promise<Set<string>> {
    this.#ids ??= this.#read()
    return this.#ids
  }

  /** It only saves work: what cannot be read is as good as nothing. */
  async #read(): Promise<Set<string>> {
    try {
      const ids: unknown = JSON.parse((await this.#files.readIfExists(this.#path)) ?? '[]')
      return new Set(Array.isArray(ids) ? ids.filter((id) => typeof id === 'string') : [])
    } catch {
      return new Set()
    }
  }
}
