import { hasCode } from '../../domain/errors.ts'
import type { Logger } from '../../lib/logger.ts'
import { KeyedMutex } from '../../lib/mutex.ts'
import type { BtrfsCommand } from './btrfs-command.ts'

const rescanPatienceMs = 30_000

/**
 * Size limits by quota groups. They cost every write a little and make removals slower, so a pool gets quotas
 * with its first sized volume and not before.
 *
 * Snapshots inherit the limit of what they are made of (seen with 6.18): a base with the limit of old times would stop a
 * receive, so snapshots lose theirs, and a live dataset made of one gets its own.
 */
export class Quota {
  readonly #where: string
  readonly #command: BtrfsCommand
  readonly #logger: Logger
  readonly #one = new KeyedMutex<'enable'>()

  constructor(where: string, command: BtrfsCommand, logger: Logger) {
    this.#where = where
    this.#command = command
    this.#logger = logger
  }

  /** Limits what the subvolume refers to; null lifts the limit. */
  async limit(path: string, sizeBytes: number | null): Promise<void> {
    if ((await this.#command.limit(path, sizeBytes)) || sizeBytes === null) return
    await this.#one.run('enable', () => this.#command.enableQuotas(this.#where))
    this.#logger.info({ pool: this.#where }, 'quotas enabled for the first sized volume; counting what the pool holds')
    await this.#command.limit(path, sizeBytes)
    try {
      // Until the counting ends a limit may let more through than it says. A large pool takes longer than Docker waits.
      await this.#command.waitForRescan(this.#where, rescanPatienceMs)
    } catch (error) {
      if (!hasCode(error, 'TIMED_OUT')) throw error
      this.#logger.warn(
        { pool: this.#where },
        'the pool is still being counted; size limits are exact when that has ended',
      )
    }
  }
}
