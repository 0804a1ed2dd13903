import type { Host } from '../../src/domain/host.ts'
import { Disk } from './disk.ts'
import { Engine, PluginGone } from './engine.ts'
import type { EventLoop } from './event-loop.ts'
import { Kernel } from './kernel.ts'
import { MemoryPool } from './memory-pool.ts'
import type { Network } from './network.ts'
import { SimProcess, type Steps } from './process.ts'
import type { Random } from './random.ts'
import type { SharedDisks } from './shared-disks.ts'
import type { StoreHost } from './store-host.ts'
import type { Streams } from './transfers.ts'
import type { Vold } from './vold.ts'
import type { WriteLedger } from './writer.ts'

/** When the simulation begins, by everybody's clock. */
const epochStart = Date.parse('2026-11-24T00:00:00.000Z')

export interface HostWorld {
  readonly loop: EventLoop
  readonly random: Random
  readonly network: Network
  readonly streams: Streams
  readonly steps: Steps
  readonly ledger: WriteLedger
  /** Storage that all machines reach; null: each has its own alone. */
  readonly disks: SharedDisks | null
  start(host: SimHost, process: SimProcess): Promise<Vold>
  note(text: string): void
}

/** A machine: what is on its disks outlives everything, what its kernel and its engine hold outlives `vold`. */
export class SimHost {
  readonly row: Host
  /** Of two the first is the default. */
  readonly pools: readonly MemoryPool[]
  readonly kernel: Kernel
  readonly disk = new Disk()
  readonly engine: Engine
  readonly network: Network
  readonly streams: Streams
  /** On the control host. */
  readonly store: StoreHost | null
  bootId = 'boot-1'
  /** How far its clock is off, in ms. */
  clockOffset = 0
  vold: Vold | null = null
  process: SimProcess | null = null
  /** Mounts whatever its record says, for tests of the simulation itself. */
  mountsAnything = false
  /** The power is off. */
  dark = false
  readonly #world: HostWorld
  #lives = 0
  #boots = 1

  constructor(row: Host, store: StoreHost | null, world: HostWorld) {
    this.row = row
    this.store = store
    this.network = world.network
    this.streams = world.streams
    this.#world = world
    // What comes from another host is known by its number here, too.
    const from = world.disks === null ? 0 : 1e7 * Number(row.name.replace('host', ''))
    this.pools = row.pools.map(
      (spec, index) => new MemoryPool(spec.slice(spec.indexOf(':') + 1), 2 ** 30, from + index * 1e6),
    )
    this.kernel = new Kernel(...this.pools)
    for (const pool of this.pools) {
      pool.disks = world.disks
      world.disks?.join(pool.name, this.kernel)
    }
    const { loop, random, ledger } = world
    this.engine = new Engine(row.name, { loop, random, kernel: this.kernel, ledger, plugin: this.#plugin() })
  }

  get name(): string {
    return this.row.name
  }

  /** The pool of that spec. */
  pool(spec: string): MemoryPool | undefined {
    return this.pools.find(({ name }) => spec.endsWith(`:${name}`))
  }

  wallClock(): number {
    return epochStart + Math.floor(this.#world.loop.now) + this.clockOffset
  }

  /** Starts `vold`, and again a second later whenever a start fails, as systemd does. */
  startVold(): void {
    if (this.process !== null || this.dark) return
    const { loop, random, steps } = this.#world
    const process = new SimProcess(`${this.name}.${++this.#lives}`, loop, random, steps)
    this.process = process
    this.#world.note(`${process.name} starts`)
    this.#world.start(this, process).then(
      (vold) => {
        if (process.alive) this.vold = vold
      },
      (error: unknown) => {
        if (!process.alive) return
        this.#world.note(`${process.name} cannot start: ${error}`)
        this.killVold()
        loop.after(1_000, () => this.startVold())
      },
    )
  }

  /** kill -9 */
  killVold(): void {
    if (this.process === null) return
    this.#world.note(`${this.process.name} is killed`)
    const dead = this.process
    this.process = null
    this.vold = null
    dead.end()
  }

  powerFails(): void {
    this.#world.note(`${this.name} loses power`)
    this.dark = true
    this.killVold()
    this.engine.powerFails()
    this.kernel.powerFails()
    for (const pool of this.pools) pool.powerFails()
  }

  boot(): void {
    if (!this.dark) return
    this.#world.note(`${this.name} boots`)
    this.dark = false
    this.bootId = `boot-${++this.#boots}`
    void this.engine.restart()
    this.startVold()
  }

  #mountAnyway(): Promise<string> | null {
    if (!this.mountsAnything) return null
    for (const [id, { live }] of this.pools.flatMap(({ volumes }) => [...volumes])) {
      const path = `/data/mnt/${id}`
      if (live === null) continue
      if (this.kernel.ownMountAt(path) === undefined) this.kernel.mount(path, 'own', id, live)
      return Promise.resolve(`${path}/data`)
    }
    return null
  }

  #plugin() {
    const asked = <T>(
      call: (vold: Vold & { service: NonNullable<Vold['service']> }) => Promise<T>,
    ): Promise<T> | null => {
      const { vold } = this
      const service = vold?.service ?? null
      if (vold === null || service === null) return null
      return new Promise((resolve, reject) => {
        const forget = vold.process.whenEnded(() => reject(new PluginGone()))
        call({ ...vold, service })
          .then(resolve, reject)
          .finally(forget)
      })
    }
    return {
      mount: (name: string, caller: string) =>
        this.#mountAnyway() ?? asked(({ service }) => service.mount(name, caller)),
      unmount: (name: string, caller: string) => asked(({ service }) => service.unmount(name, caller)),
    }
  }
}
