import type { Clock } from '../../../../lib/clock.ts'
import type { Logger } from '../../../../lib/logger.ts'
import type { DirectBlocks } from './blocks.ts'
import { reasonOf, type SnapshotPair } from './lists.ts'

/** So long nobody waits for it. */
const answerMs = 15_000
/** After which it is tried again. */
const againMs = 10 * 60_000

/** Whether the direct API can be used: it answers, and the role may list and read. Without it, what is compared and sent is read from volumes. */
export class DirectAccess {
  readonly #blocks: DirectBlocks
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #isWanted: boolean
  #closedUntil = Number.NEGATIVE_INFINITY
  #isSaid = false

  /** @param isWanted by whoever named the pool */
  constructor(blocks: DirectBlocks, clock: Clock, logger: Logger, isWanted = true) {
    this.#blocks = blocks
    this.#clock = clock
    this.#logger = logger
    this.#isWanted = isWanted
  }

  /** Asks for the first block of the list and reads it, each time: a role may list and not read, or not any more. Of two lineages: no. */
  async reaches(pair: SnapshotPair): Promise<boolean> {
    if (!this.#isWanted || this.#clock.monotonic() < this.#closedUntil) return false
    try {
      for await (const block of this.#blocks.lists.blocks(pair, 0, answerMs)) {
        await this.#blocks.read(pair, block, answerMs)
        break
      }
      this.#isSaid = false
      return true
    } catch (error) {
      if (reasonOf(error) === 'UNRELATED_SNAPSHOTS') return false
      this.#closedUntil = this.#clock.monotonic() + againMs
      if (!this.#isSaid) {
        this.#logger.warn({ err: error }, 'the EBS direct API cannot be used; whole volumes are read instead')
      }
      this.#isSaid = true
      return false
    }
  }
}
