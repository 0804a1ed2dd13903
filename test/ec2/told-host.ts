import { join } from 'node:path'
import type { ToldSnapshot } from '../../src/backends/block/ebs/told-snapshot.ts'
import { hasCode } from '../../src/domain/errors.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { type Incarnation, incarnate, newDevice } from './incarnation.ts'
import type { Ec2Server, here } from './server.ts'

interface Options {
  readonly server: Ec2Server
  readonly directory: string
  readonly clock: Clock
  readonly cluster: string
  readonly identity: typeof here
}

/** A host in another zone or region that is told of snapshots, and may die over each. */
export class ToldHost {
  readonly #options: Options
  readonly #adopted = new Map<string, ToldSnapshot>()
  /** Of these it was answered that they are here. */
  readonly #received = new Set<string>()
  /** What goes on while nobody waits for it. */
  readonly #underWay = new Set<Promise<void>>()
  readonly #live: string[] = []
  #host: Incarnation

  private constructor(options: Options, host: Incarnation) {
    this.#options = options
    this.#host = host
  }

  static async start(options: Options): Promise<ToldHost> {
    const there = { ...options, directory: join(options.directory, options.identity.instanceId) }
    return new ToldHost(there, await incarnate(there))
  }

  /** @param diesAfterMs null: it does not */
  adopt(told: ToldSnapshot, diesAfterMs: number | null): Promise<void> {
    const one: Promise<void> = this.#take(told, diesAfterMs).finally(() => this.#underWay.delete(one))
    this.#underWay.add(one)
    return one
  }

  async #take(told: ToldSnapshot, diesAfterMs: number | null): Promise<void> {
    const device = newDevice()
    this.#adopted.set(device, told)
    const first = this.#adopt(device, told)
    if (diesAfterMs !== null) {
      await Promise.race([first, this.#options.clock.sleep(diesAfterMs)]).catch(() => {})
      void first.catch(() => {})
      await this.again()
    } else await first
    await this.#adopt(device, told)
    this.#received.add(device)
  }

  /** As a move does, which asks again while EC2 is at it. */
  async #adopt(device: string, told: ToldSnapshot): Promise<void> {
    const { devices } = this.#host
    for (;;) {
      try {
        return await devices.adopt(device, told)
      } catch (error) {
        if (!(hasCode(error, 'TIMED_OUT') && error.details.pending === true)) throw error
      }
    }
  }

  async promote(pick: (devices: readonly string[]) => string): Promise<void> {
    if (this.#received.size === 0) return
    const device = newDevice()
    this.#live.push(device)
    await this.#host.devices.clone(pick([...this.#received]), device)
  }

  async again(): Promise<void> {
    await this.#host.die()
    this.#host = await incarnate(this.#options)
  }

  /** What it was told of it has, asked again where it died over it. */
  async prove(): Promise<void> {
    await Promise.allSettled(this.#underWay)
    for (const [device, told] of this.#adopted) {
      await this.#adopt(device, told)
      const seal = await this.#host.devices.seal(device)
      if (!(await this.#host.devices.isIntact(device, seal))) throw new Error(`${device} is not what was told of`)
    }
  }

  async removeAll(): Promise<void> {
    for (const device of [...this.#live, ...this.#adopted.keys()]) await this.#host.devices.remove(device)
  }

  die(): Promise<void> {
    return this.#host.die()
  }
}
