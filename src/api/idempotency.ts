import { createHash } from 'node:crypto'
import { DroverError } from '../domain/errors.ts'
import { type Clock, isoNow } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { IdempotentAnswer, Store } from '../state/store.ts'

export type AnswerKeeper = Pick<Store, 'idempotentAnswer' | 'putIdempotentAnswer'>

export type KeptAnswer = Pick<IdempotentAnswer, 'status' | 'location' | 'body'>

export interface Idempotency {
  /**
   * Runs `work` unless the same request with this key was done before; then its answer is given again.
   * Only what was made (201, 202) is kept: a refused request and a plan made nothing, and may be asked for again.
   * @throws IDEMPOTENCY_MISMATCH, STORE_CONFLICT while the same key is under way, BAD_REQUEST
   */
  once(key: string, requestDigest: string, work: () => Promise<KeptAnswer>): Promise<KeptAnswer & { replayed: boolean }>
}

export const createIdempotency = (keeper: AnswerKeeper, clock: Clock, logger: Logger): Idempotency => {
  const underWay = new Set<string>()
  return {
    async once(key, requestDigest, work) {
      if (!/^[\x21-\x7e]{1,255}$/.test(key)) {
        throw new DroverError(
          'BAD_REQUEST',
          'the Idempotency-Key cannot be used; send 1 to 255 visible ASCII characters',
        )
      }
      if (underWay.has(key)) {
        throw new DroverError(
          'STORE_CONFLICT',
          `a request with Idempotency-Key ${key} is under way; send it again later`,
        )
      }
      underWay.add(key)
      try {
        const kept = await keeper.idempotentAnswer(key)
        if (kept !== null && kept.requestDigest !== requestDigest) {
          throw new DroverError(
            'IDEMPOTENCY_MISMATCH',
            `Idempotency-Key ${key} was used for another request; send this one with a key of its own`,
          )
        }
        if (kept !== null) return { ...kept, replayed: true }
        const answer = await work()
        if (answer.status === 200) return { ...answer, replayed: false }
        await keeper.putIdempotentAnswer({ key, requestDigest, ...answer }, isoNow(clock)).catch((error: unknown) => {
          // The work is done: to answer anything else than that would be the greater lie.
          logger.error({ err: error, key }, 'an answer could not be kept for its Idempotency-Key')
        })
        return { ...answer, replayed: false }
      } finally {
        underWay.delete(key)
      }
    },
  }
}

export const digestOf = (method: string, path: string, body: unknown): string =>
  createHash('sha256')
    .update(JSON.stringify([method, path, body]))
    .digest('hex')
