import type { MoveId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { MoveCommand } from './agent.ts'

/**
 * A source that has not heard from the control role for so long acts: sealed, it unseals itself, which ends the move; released, it asks
 * the target to refuse durably, and only then takes the volume back.
 */
export const silentControlMs = 30_000

/** Watches sources from seal to retirement. Only a seal ends by waiting alone; a released source never does. */
export class Watchdog {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #expired: (command: MoveCommand) => Promise<void>
  readonly #watched = new Map<MoveId, AbortController>()

  constructor(clock: Clock, logger: Logger, expired: (command: MoveCommand) => Promise<void>) {
    this.#clock = clock
    this.#logger = logger
    this.#expired = expired
  }

  /** Control was heard from: the time starts anew. */
  watch(command: MoveCommand): void {
    this.forget(command.moveId)
    const controller = new AbortController()
    this.#watched.set(command.moveId, controller)
    void this.#wait(command, controller.signal)
  }

  forget(id: MoveId): void {
    this.#watched.get(id)?.abort()
    this.#watched.delete(id)
  }

  close(): void {
    for (const id of [...this.#watched.keys()]) this.forget(id)
  }

  async #wait(command: MoveCommand, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(silentControlMs, signal)
    } catch {
      return // forgotten, or heard from
    }
    this.#logger.warn(
      { move: command.moveId, volume: command.volumeName },
      'the writers are stopped and nothing is heard from control: settling the move without it',
    )
    try {
      await this.#expired(command)
    } catch (error) {
      this.#logger.error(
        { move: command.moveId, error: String(error) },
        'settling without control failed; trying again',
      )
      if (!signal.aborted) this.watch(command)
    }
  }
}
