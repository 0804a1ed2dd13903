import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../../lib/clock.ts'
import { readIfExists, writeDurably } from '../../../lib/files.ts'
import type { ArrivalPlace } from '../device.ts'

const lookMs = 500

type SizingAnswer = ArrivalPlace | { readonly error: string }

/**
 * The process that receives a stream learns the size from the stream, and asks for it here: `DEVICE.ask`, answered in `DEVICE.answer`. So all
 * calls to the cloud are made by one process, within one budget.
 */
export class SizingRequests {
  readonly #directory: string
  readonly #clock: Clock
  readonly #open = new Map<string, AbortController>()

  constructor(home: string, clock: Clock) {
    this.#directory = join(home, 'sizing')
    this.#clock = clock
  }

  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#directory)) await rm(join(this.#directory, name), { force: true })
  }

  /** Answers, once, who asks for a size for this device. @returns where it asks */
  serve(device: string, resize: (sizeBytes: number) => Promise<ArrivalPlace>): string {
    this.forget(device)
    const stop = new AbortController()
    this.#open.set(device, stop)
    const path = join(this.#directory, device)
    void this.#serve(path, resize, stop.signal).finally(() => {
      if (this.#open.get(device) === stop) this.#open.delete(device)
    })
    return path
  }

  async #serve(path: string, resize: (sizeBytes: number) => Promise<ArrivalPlace>, signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        const text = await readIfExists(`${path}.ask`)
        if (text !== null) {
          const answer = await resize(Number(text)).catch((error: unknown): SizingAnswer => ({ error: String(error) }))
          return await writeDurably(`${path}.answer`, JSON.stringify(answer))
        }
        await this.#clock.sleep(lookMs, signal)
      }
    } catch {
      // Not wanted any more; who asks is not answered, and gives up.
    }
  }

  forget(device: string): void {
    this.#open.get(device)?.abort()
    this.#open.delete(device)
  }

  close(): void {
    for (const device of [...this.#open.keys()]) this.forget(device)
  }

  async drop(device: string): Promise<void> {
    this.forget(device)
    for (const ending of ['ask', 'answer']) await rm(join(this.#directory, `${device}.${ending}`), { force: true })
  }
}
