import type { PeerClient, RequestOptions } from '../../src/cluster/cluster.ts'
import { DroverError } from '../../src/domain/errors.ts'
import type { EventLoop } from './event-loop.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'

/** What listens at an address now: one life of a `vold`. */
export interface Listener {
  readonly process: SimProcess
  handle(path: string, method: string, body: unknown): Promise<unknown>
}

export interface Weather {
  /** Share of messages that meet with something. */
  loss: number
  repeat: number
  /** Longest delay of a message on its way, in ms; most take a hundredth of it. */
  delayMs: number
}

const connectTimeoutMs = 5_000
/** How often the kernel probes an idle connection. */
const keepAliveMs = 75_000
const unreachable = (address: string, why: string): DroverError =>
  new DroverError('HOST_UNREACHABLE', `host at ${address} cannot be reached (${why})`)

/** Messages between hosts: late, lost, twice, or not at all while two hosts are parted. */
export class Network {
  readonly weather: Weather = { loss: 0, repeat: 0, delayMs: 20 }
  readonly #loop: EventLoop
  readonly #random: Random
  readonly #listeners = new Map<string, Listener>()
  readonly #parted = new Set<string>()
  #whenJoined: (() => void)[] = []

  constructor(loop: EventLoop, random: Random) {
    this.#loop = loop
    this.#random = random
  }

  listen(address: string, listener: Listener): void {
    this.#listeners.set(address, listener)
  }

  listenerAt(address: string): Listener | null {
    const listener = this.#listeners.get(address)
    return listener?.process.alive === true ? listener : null
  }

  part(one: string, other: string): void {
    this.#parted.add([one, other].sort().join())
  }

  join(one: string, other: string): void {
    this.#parted.delete([one, other].sort().join())
    this.#joined()
  }

  joinAll(): void {
    this.#parted.clear()
    this.#joined()
  }

  isParted(one: string, other: string): boolean {
    return this.#parted.has([one, other].sort().join())
  }

  client(process: SimProcess, own: string): PeerClient {
    return {
      request: async (peer, path, options = {}) => {
        const body = await this.#request(process, own, peer.address, path, options)
        return { status: 200, headers: {}, body }
      },
      upload: async (peer, path, _stream, headers) => {
        await this.#request(process, own, peer.address, path, { method: 'POST', body: headers, timeoutMs: 900_000 })
      },
      stream: () => Promise.reject(new Error('not simulated')),
      close: () => {},
    }
  }

  #request(process: SimProcess, own: string, to: string, path: string, options: RequestOptions): Promise<unknown> {
    const body = options.body === undefined ? undefined : JSON.parse(JSON.stringify(options.body))
    const timeoutMs = options.timeoutMs ?? 30_000
    return process.ask(
      `call ${path.replace(/[0-9a-z]{26}/g, '*')} ${to}`,
      () =>
        new Promise((resolve, reject) => {
          let over = false
          const end = (work: () => void) => {
            if (over) return
            over = true
            work()
          }
          this.#loop.after(timeoutMs, () => end(() => reject(unreachable(to, `no answer within ${timeoutMs} ms`))))
          const send = () => this.#deliver(own, to, path, options.method ?? 'GET', body, end, resolve, reject)
          if (!this.isParted(own, to)) return send()
          // A new connection is not taken; on a kept one the message waits until the two are joined again.
          if (this.#random.chance(0.5)) {
            this.#loop.after(Math.min(connectTimeoutMs, timeoutMs), () => end(() => reject(unreachable(to, 'parted'))))
          } else {
            this.#whenJoined.push(() => {
              if (!over || this.#random.chance(0.3)) send()
            })
          }
        }),
    )
  }

  #deliver(
    own: string,
    to: string,
    path: string,
    method: string,
    body: unknown,
    end: (work: () => void) => void,
    resolve: (answer: unknown) => void,
    reject: (error: unknown) => void,
  ): void {
    // At once, or when the next probe of an idle connection finds it dead.
    const resetMs = this.#random.next() * (this.#random.chance(0.1) ? keepAliveMs : 200)
    const reset = () => this.#loop.after(resetMs, () => end(() => reject(unreachable(to, 'connection reset'))))
    if (this.#random.chance(this.weather.loss)) {
      reset()
      return
    }
    const arrive = (answer: ((outcome: () => void) => void) | null) => {
      const listener = this.listenerAt(to)
      if (listener === null) {
        if (answer !== null) answer(() => reject(unreachable(to, 'connection refused')))
        return
      }
      const forget = listener.process.whenEnded(() => answer?.(() => reject(unreachable(to, 'connection reset'))))
      listener.handle(path, method, body === undefined ? undefined : structuredClone(body)).then(
        (result) => {
          forget()
          const copy = result === undefined ? null : JSON.parse(JSON.stringify(result))
          answer?.(() => resolve(copy))
        },
        (error: unknown) => {
          forget()
          answer?.(() => reject(carried(error)))
        },
      )
    }
    const answer = (outcome: () => void) => {
      if (this.#random.chance(this.weather.loss)) {
        reset()
        return
      }
      this.#loop.after(this.#delay(), () => {
        if (this.isParted(own, to)) this.#whenJoined.push(() => end(outcome))
        else end(outcome)
      })
    }
    this.#loop.after(this.#delay(), () => arrive(answer))
    if (this.#random.chance(this.weather.repeat)) {
      this.#loop.after(this.#delay() + this.#random.next() * 20_000, () => arrive(null))
    }
  }

  #delay(): number {
    const most = this.weather.delayMs
    return this.#random.chance(0.95) ? 0.2 + (this.#random.next() * most) / 20 : this.#random.next() * most
  }

  #joined(): void {
    const waiting = this.#whenJoined
    this.#whenJoined = []
    for (const go of waiting) this.#loop.after(this.#random.next() * 300, go)
  }
}

/** As problem+json carries it. */
const carried = (error: unknown): DroverError =>
  error instanceof DroverError
    ? new DroverError(error.code, error.message, { details: JSON.parse(JSON.stringify(error.details)) })
    : new DroverError('INTERNAL', error instanceof Error ? `${error.message}` : String(error), { cause: error })
