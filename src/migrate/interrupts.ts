import { DroverError } from '../domain/errors.ts'
import type { MoveId } from '../domain/ids.ts'

/** What waits on a host within a move can be told to stop waiting, because the move is being undone. */
export class Interrupts {
  readonly #controllers = new Map<MoveId, AbortController>()

  /** Aborted when the move is undone. */
  signal(id: MoveId): AbortSignal {
    const controller = this.#controllers.get(id) ?? new AbortController()
    this.#controllers.set(id, controller)
    return controller.signal
  }

  interrupt(id: MoveId): void {
    this.#controllers
      .get(id)
      ?.abort(new DroverError('STALE_EPOCH', `move ${id} is being undone; nothing more is done of it`))
    this.forget(id)
  }

  forget(id: MoveId): void {
    this.#controllers.delete(id)
  }
}
