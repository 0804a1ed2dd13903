import { expect } from 'vitest'
import type { Backend } from '../../src/backends/backend.ts'
import type { MakePool, PoolUnderTest } from './backend-bench.ts'

/**
 * A pool that tests are run on, one after the other. Each gets a freshly opened backend; where the pool keeps its backend open, all get
 * that one, as long as each leaves the pool as it was found: the test that does not has failed, and the next one gets another pool.
 */
export class TriedPool {
  readonly #makePool: MakePool
  #pool: PoolUnderTest | null = null
  #backend: Backend | null = null
  /** What is there between two tests. */
  #atRest: unknown = null

  constructor(makePool: MakePool) {
    this.#makePool = makePool
  }

  get pool(): PoolUnderTest {
    return this.#pool ?? raise('the bench has no such pool, or is not set up')
  }

  get backend(): Backend {
    return this.#backend ?? raise('the pool is not open')
  }

  async make(): Promise<void> {
    this.#pool = await this.#makePool()
  }

  /** Before a test. */
  async open(): Promise<void> {
    if (this.#pool === null) await this.make()
    if (this.#backend !== null && this.pool.staysOpen === true) return
    this.#backend = this.pool.backend()
    await this.backend.open()
    if (this.pool.staysOpen !== true) return
    await this.backend.settled()
    this.#atRest = await this.pool.leftovers()
  }

  /** After a test: removes every volume. */
  async clear(): Promise<void> {
    const { pool, backend } = this
    for (const { volumeId: id } of (await backend.list()).records) await backend.destroy(id)
    if (pool.checkEmpty !== undefined) {
      await backend.settled()
      pool.checkEmpty()
    }
    if (pool.staysOpen !== true) await backend.close()
  }

  /** When all that the test itself takes away is away. @throws Error when the pool is not as it was found */
  async checkAtRest(hasFailed: boolean): Promise<void> {
    if (this.#pool?.staysOpen !== true) return
    try {
      await this.backend.settled()
      expect((await this.backend.list()).records, 'volumes that the test left').toEqual([])
      expect(await this.pool.leftovers(), 'what the test left on the pool').toEqual(this.#atRest)
    } catch (error) {
      await this.#replace().catch((also: unknown) => {
        throw new AggregateError([error, also], 'a test left something on a pool, which could then not be taken away')
      })
      throw error
    }
    if (hasFailed) await this.#replace()
  }

  /** What a test left may be in the way, of its removal too: then the pool stays, and no other test sees it. */
  async #replace(): Promise<void> {
    const pool = this.#pool
    await this.#backend?.close()
    this.#pool = null
    this.#backend = null
    await pool?.dispose()
  }

  async dispose(): Promise<void> {
    if (this.#pool?.staysOpen === true) await this.#backend?.close()
    await this.#pool?.dispose()
  }
}

const raise = (message: string): never => {
  throw new Error(message)
}
