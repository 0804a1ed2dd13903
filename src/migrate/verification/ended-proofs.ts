import { DroverError } from '../../domain/errors.ts'
import { isId } from '../../domain/ids.ts'

const remembered = 256

/** The content proofs of moves that have ended here: a call that comes late would begin one again, and nobody would end that. */
export class EndedProofs {
  readonly #ids = new Set<string>()

  /** Those of `vol verify` have the same name each time. */
  add(id: string): void {
    if (!isId(id)) return
    this.#ids.add(id)
    for (const oldest of this.#ids) {
      if (this.#ids.size <= remembered) return
      this.#ids.delete(oldest)
    }
  }

  /** @throws STALE_EPOCH */
  check(id: string): void {
    if (this.#ids.has(id)) throw new DroverError('STALE_EPOCH', `the content proof of move ${id} has ended here`)
  }
}
