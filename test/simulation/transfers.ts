import type { Argv } from '../../src/backends/backend.ts'
import { DroverError } from '../../src/domain/errors.ts'
import type { Transfer, TransferResult, TransferService } from '../../src/migrate/transfer.ts'
import type { EventLoop } from './event-loop.ts'
import type { MemoryPool } from './memory-pool.ts'
import type { Network } from './network.ts'
import type { SimProcess } from './process.ts'
import type { Random } from './random.ts'
import { readStream, type Stream, writeStream } from './stream.ts'

interface End {
  readonly process: SimProcess
  readonly pool: MemoryPool
  readonly argv: Argv
  readonly address: string
  over: boolean
  settle(outcome: TransferResult | Error): void
}

export interface StreamWeather {
  /** Shares of streams that break in the middle, or arrive otherwise than they were sent. */
  cut: number
  corrupt: number
}

const peerTimeoutMs = 30_000
const streamFailed = (text: string): DroverError => new DroverError('STREAM_FAILED', text)
/** As a session that found no other link in time: the mover may try the round again. */
const streamLost = (): DroverError => new DroverError('STREAM_FAILED', 'the stream broke', { details: { lost: true } })

/** The streams of all hosts: a sender finds its receiver by session, and both end with their `vold`. */
export class Streams {
  readonly weather: StreamWeather = { cut: 0, corrupt: 0 }
  readonly #loop: EventLoop
  readonly #random: Random
  readonly #network: Network
  readonly #waiting = new Map<string, End>()
  #count = 0

  constructor(loop: EventLoop, random: Random, network: Network) {
    this.#loop = loop
    this.#random = random
    this.#network = network
  }

  /** The last word of a command names its pool. */
  service(process: SimProcess, pools: readonly MemoryPool[], address: string, now: () => string): TransferService {
    const poolOf = (argv: Argv): MemoryPool => {
      const pool = pools.find(({ name }) => name === argv.at(-1))
      if (pool === undefined) throw streamFailed(`no pool is named by ${argv}`)
      return pool
    }
    return {
      listen: async () => {},
      setIdentity: () => {},
      warm: () => {},
      close: async () => {},
      receive: (spec) =>
        process.ask('transfer.receive', async () => {
          const key = `${address} ${spec.sessionId}`
          const { end, transfer } = this.#end(process, poolOf(spec.argv), spec.argv, address)
          this.#waiting.set(key, end)
          this.#loop.after(peerTimeoutMs, () => {
            if (this.#waiting.delete(key)) end.settle(streamFailed('no peer came'))
          })
          return transfer
        }),
      send: (spec) =>
        process.ask('transfer.send', async () => {
          const { end, transfer } = this.#end(process, poolOf(spec.argv), spec.argv, address)
          const key = `${spec.address} ${spec.sessionId}`
          this.#loop.after(1 + this.#random.next() * 10, () => {
            const peer = this.#waiting.get(key)
            if (peer === undefined || peer.over || this.#network.isParted(address, spec.address)) {
              end.settle(streamFailed('the target does not take the stream'))
              return
            }
            this.#waiting.delete(key)
            this.#carry(end, peer, now)
          })
          return transfer
        }),
    }
  }

  #end(process: SimProcess, pool: MemoryPool, argv: Argv, address: string): { end: End; transfer: Transfer } {
    const { promise, resolve, reject } = Promise.withResolvers<TransferResult>()
    promise.catch(() => undefined)
    const forget = process.whenEnded(() => {
      end.over = true
    })
    const end: End = {
      process,
      pool,
      argv,
      address,
      over: false,
      settle: (outcome) => {
        if (end.over) return
        end.over = true
        forget()
        if (outcome instanceof Error) reject(outcome)
        else resolve(outcome)
      },
    }
    const transfer: Transfer = {
      done: promise,
      progress: () => ({ bytes: 0 }),
      abort: () => end.settle(streamFailed('the transfer was ended')),
    }
    return { end, transfer }
  }

  #carry(from: End, to: End, now: () => string): void {
    const started = this.#loop.now
    const ms = 5 + this.#random.next() * (this.#random.chance(0.1) ? 4_000 : 120)
    const cutAt = this.#random.chance(this.weather.cut) ? started + this.#random.next() * ms : Number.POSITIVE_INFINITY
    const corrupt = this.#random.chance(this.weather.corrupt)
    const digest = `digest-${++this.#count}`
    let stream: Stream
    try {
      stream = readStream(from.pool, from.argv)
    } catch (error) {
      from.settle(streamFailed(String(error)))
      to.settle(streamFailed('the sender ended'))
      return
    }
    const breaks = () => {
      // What had arrived stays where it was received, unfinished.
      try {
        writeStream(to.pool, to.argv, stream, false, now())
      } catch {}
      from.settle(streamLost())
      to.settle(streamLost())
    }
    const step = () => {
      const cut = this.#loop.now >= cutAt || this.#network.isParted(from.address, to.address)
      if (from.over || to.over || cut) return breaks()
      if (this.#loop.now < started + ms) {
        this.#loop.after(Math.min(200, started + ms - this.#loop.now), step)
        return
      }
      try {
        const arrived = corrupt ? { ...stream, files: stream.files.slice(1) } : stream
        writeStream(to.pool, to.argv, arrived, true, now())
      } catch (error) {
        to.settle(streamFailed(String(error)))
        from.settle(streamFailed('the receiver ended'))
        return
      }
      const { bytes } = stream
      const wire = { resentBytes: 0, reconnects: 0, wireBytes: bytes }
      const result: TransferResult = { bytes, ms: this.#loop.now - started, digest, ...wire }
      to.settle(corrupt ? { ...result, digest: `${digest}, corrupted` } : result)
      // The last acknowledgement may be lost.
      this.#loop.after(this.#random.next() * 5, () =>
        from.settle(this.#random.chance(this.weather.cut) ? streamFailed('no acknowledgement') : result),
      )
    }
    this.#loop.after(Math.min(ms, 50), step)
  }
}
