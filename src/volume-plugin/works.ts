import type { Logger } from '../lib/logger.ts'
import type { VolumeService } from '../volumes/volume-service.ts'
import type { Call } from './calls.ts'
import type { Answer, Fields } from './wire.ts'

/** One who waits for a piece of work. */
interface Waiter {
  /** It was answered that the work takes long. */
  left: boolean
  gone(): boolean
}

interface Work {
  readonly result: Promise<Answer>
  readonly waiters: Waiter[]
}

/**
 * What calls have set going. The same call again joins the work that is under way: an engine that was told to try again does not make
 * a second command wait behind a hung one. Work that ends when nobody waits for it any more is put right by `abandoned`.
 */
export class Works {
  readonly #service: VolumeService
  readonly #logger: Logger
  readonly #underWay = new Map<string, Work>()

  constructor(service: VolumeService, logger: Logger) {
    this.#service = service
    this.#logger = logger
  }

  /** `leave`: the caller is answered without the result. */
  join(call: Call, path: string, fields: Fields, gone: () => boolean): { work: Promise<Answer>; leave: () => void } {
    const waiter: Waiter = { left: false, gone }
    const leave = () => {
      waiter.left = true
    }
    const key = JSON.stringify([path, fields])
    const known = call.joins === true ? this.#underWay.get(key) : undefined
    if (known !== undefined) {
      known.waiters.push(waiter)
      return { work: known.result, leave }
    }
    const work: Work = { result: call.run(this.#service, fields), waiters: [waiter] }
    if (call.joins === true) this.#underWay.set(key, work)
    this.#settle(call, path, fields, work, key).catch((error: unknown) =>
      this.#logger.error({ call: path, name: fields.Name, err: error }, 'undoing failed'),
    )
    return { work: work.result, leave }
  }

  async #settle(call: Call, path: string, fields: Fields, work: Work, key: string): Promise<void> {
    const about = { call: path, name: fields.Name }
    try {
      await work.result
    } catch (error) {
      if (work.waiters.some(({ left }) => left))
        this.#logger.warn({ ...about, err: error }, 'failed after its caller was answered')
      return
    } finally {
      if (this.#underWay.get(key) === work) this.#underWay.delete(key)
    }
    if (call.abandoned === undefined || work.waiters.some(({ left, gone }) => !left && !gone())) return
    this.#logger.warn(about, 'done after its caller had gone: undone')
    await call.abandoned(this.#service, fields)
  }
}
