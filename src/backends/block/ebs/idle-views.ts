import { type Clock, every } from '../../../lib/clock.ts'

/** Volumes that show a snapshot cost money and a place on the instance: those that nobody has asked for lately are dropped. */
export class IdleViews {
  readonly #clock: Clock
  readonly #idleMs: number
  readonly #lastAsked = new Map<string, number>()
  #stop: () => void = () => {}

  constructor(clock: Clock, idleMs: number) {
    this.#clock = clock
    this.#idleMs = idleMs
  }

  start(drop: (device: string) => Promise<void>): void {
    this.stop()
    this.#stop = every(this.#clock, this.#idleMs, () => void this.#sweep(drop))
  }

  stop(): void {
    this.#stop()
    this.#stop = () => {}
  }

  touch(device: string): void {
    this.#lastAsked.set(device, this.#clock.monotonic())
  }

  async #sweep(drop: (device: string) => Promise<void>): Promise<void> {
    for (const [device, at] of [...this.#lastAsked]) {
      if (this.#clock.monotonic() - at < this.#idleMs) continue
      this.#lastAsked.delete(device)
      await drop(device)
    }
  }
}
