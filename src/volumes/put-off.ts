import type { VolumeId } from '../domain/ids.ts'
import { type Clock, isoNow } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'

/** What came of a try: it is done, it need not be done any more, or why it has to wait. */
export type Tried = 'done' | 'unneeded' | { readonly waitsFor: string }

/** An unmount that waits for somebody to let go. */
export interface PutOff {
  readonly waitsFor: string
  readonly since: string
}

const retryMs = { first: 250, most: 5_000 }

/** Unmounts that were put off: tried again by themselves until whoever keeps the volume busy has gone. In memory: a restart begins anew. */
export class PutOffUnmounts {
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #waiting = new Map<VolumeId, PutOff>()
  readonly #closing = new AbortController()

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock
    this.#logger = logger
  }

  of(id: VolumeId): PutOff | null {
    return this.#waiting.get(id) ?? null
  }

  /** One runner a volume, however often it is asked. */
  add(id: VolumeId, name: string, waitsFor: string, attempt: () => Promise<Tried>): void {
    const running = this.#waiting.has(id)
    this.#waiting.set(id, { waitsFor, since: this.#waiting.get(id)?.since ?? isoNow(this.#clock) })
    if (running) return
    this.#logger.warn({ volume: name, waitsFor }, 'unmount put off: it is done when these have let go')
    this.#run(id, name, attempt).catch((error) => {
      if (!this.#closing.signal.aborted)
        this.#logger.error({ volume: name, error: String(error) }, 'an unmount that was put off failed')
    })
  }

  close(): void {
    this.#closing.abort()
  }

  async #run(id: VolumeId, name: string, attempt: () => Promise<Tried>): Promise<void> {
    try {
      for (let waitMs = retryMs.first; ; waitMs = Math.min(waitMs * 2, retryMs.most)) {
        await this.#clock.sleep(waitMs, this.#closing.signal)
        const tried = await attempt()
        if (typeof tried === 'object') {
          this.#note(id, name, tried.waitsFor)
          continue
        }
        this.#logger.info(
          { volume: name },
          tried === 'done' ? 'unmounted, for it was let go' : 'need not be unmounted any more',
        )
        return
      }
    } finally {
      this.#waiting.delete(id)
    }
  }

  #note(id: VolumeId, name: string, waitsFor: string): void {
    const before = this.#waiting.get(id)
    if (before === undefined || before.waitsFor === waitsFor) return
    this.#waiting.set(id, { ...before, waitsFor })
    this.#logger.warn({ volume: name, waitsFor }, 'unmount put off further')
  }
}
