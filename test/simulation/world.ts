import { DroverError } from '../../src/domain/errors.ts'
import type { Host } from '../../src/domain/host.ts'
import { clusterId, hostId } from '../../src/domain/ids.ts'
import type { Clock } from '../../src/lib/clock.ts'
import type { Logger } from '../../src/lib/logger.ts'
import type { Store } from '../../src/state/store.ts'
import { EventLoop } from './event-loop.ts'
import { Ledger } from './ledger.ts'
import { Network } from './network.ts'
import type { Fate, SimProcess, Steps } from './process.ts'
import { Random } from './random.ts'
import type { Act, Scenario, Strike } from './scenario.ts'
import { SharedDisks } from './shared-disks.ts'
import { SimHost } from './sim-host.ts'
import { StoreHost } from './store-host.ts'
import { Trace } from './trace.ts'
import { Streams } from './transfers.ts'
import { startVold } from './vold.ts'

const cluster = clusterId('c'.repeat(26))

/** Three machines, what lies between them, and who breaks them. */
export class World implements Steps {
  readonly loop = new EventLoop()
  readonly random: Random
  readonly network: Network
  readonly streams: Streams
  readonly hosts: SimHost[] = []
  readonly ledger: Ledger
  readonly trace: Trace
  readonly storeFile = new StoreHost()
  readonly disks: SharedDisks | null = null
  readonly scenario: Scenario
  /** Steps taken since the storm began; what each was called, when asked for. */
  steps = 0
  readonly stepNames: string[] = []
  /** The storm is on: strikes and failures happen. */
  stormy = false
  /** A container may have been stopped by an engine's end, a machine's or a person: to start it again is not Drover's. */
  stoppedByOthers = false

  /** The store was rebuilt: it may not know of moves that have ended. */
  isRecovered = false

  /** Who does what a poke says. */
  poke: (act: Act) => void = () => {}

  constructor(scenario: Scenario, keepTrace: boolean) {
    this.scenario = scenario
    this.random = new Random(scenario.seed)
    this.trace = new Trace(keepTrace)
    this.network = new Network(this.loop, this.random)
    this.streams = new Streams(this.loop, this.random, this.network)
    const note = (text: string) => this.note(text)
    this.ledger = new Ledger(this.hosts, this.loop, note)
    if (scenario.sharedDisks === true) this.disks = new SharedDisks(this.loop, this.random)
    if (scenario.flaw === 'detach' && this.disks !== null) this.disks.lets2HaveIt = true
    for (let index = 0; index < scenario.hosts; index += 1) {
      const host: SimHost = new SimHost(rowOf(index, scenario.twoPools === true), index === 0 ? this.storeFile : null, {
        loop: this.loop,
        random: this.random,
        network: this.network,
        streams: this.streams,
        steps: this,
        ledger: this.ledger,
        disks: this.disks,
        note,
        start: (on, process) =>
          startVold({
            host: on,
            process,
            clusterId: cluster,
            control: rowOf(0, scenario.twoPools === true),
            logger: this.#loggerOf(process),
            row: on.row,
          }),
      })
      const { flaw } = scenario
      if (flaw === 'mount') host.mountsAnything = true
      else if (flaw !== undefined && flaw !== 'detach') for (const pool of host.pools) pool.flaw = flaw
      for (const pool of host.pools) pool.snapshotMs = scenario.snapshotMs ?? null
      host.engine.isSick = scenario.sickOn === index
      for (const pool of host.pools) pool.recordWritten = (record) => this.ledger.recorded(host, pool, record)
      this.hosts.push(host)
    }
  }

  host(index: number): SimHost {
    const host = this.hosts[index]
    if (host === undefined) throw new Error(`no host ${index}`)
    return host
  }

  /** The control role as people reach it; null while it is down. */
  get control() {
    return this.host(0).vold?.control ?? null
  }

  /** The state file as it is, whoever has it open. */
  store(): Store {
    return this.storeFile.inspect(this.#clock())
  }

  note(text: string): void {
    this.trace.add(this.loop.now, text)
  }

  async prepare(): Promise<void> {
    const store = this.store()
    for (const { row } of this.hosts) await store.putHost(row)
    for (const host of this.hosts) host.startVold()
    await this.until(() => this.hosts.every(({ vold }) => vold !== null), 60_000)
  }

  /** Runs until `done`, at most so long. @returns whether it is done */
  async until(done: () => boolean, ms: number): Promise<boolean> {
    const end = this.loop.now + ms
    await this.loop.run(() => this.loop.now >= end || done())
    return done()
  }

  reach(process: SimProcess, what: string, mayFail: boolean): Fate | Error | null {
    this.note(`${process.name} ${what}`)
    if (!this.stormy) return null
    this.steps += 1
    if (this.trace.lines.length > 0) this.stepNames.push(`${process.name} ${what}`)
    for (const { step, act } of this.scenario.pokes) {
      if (step === this.steps) this.loop.after(this.random.next() * 4, () => this.poke(act))
    }
    const strike = this.scenario.strikes.find(({ step }) => step === this.steps)
    if (strike !== undefined) return { moment: strike.moment, strike: () => this.#strike(strike, process) }
    if (mayFail && this.random.chance(this.scenario.weather.failing)) return this.#failure(what)
    return null
  }

  kill(host: SimHost, kind: Strike['kind'], downMs: number, oldStore: boolean): void {
    if (kind === 'engine') {
      if (!host.engine.up) return
      this.note(`${host.name}'s engine is killed`)
      this.stoppedByOthers = true
      host.engine.crash()
      this.loop.after(downMs, () => {
        if (host.dark || host.engine.up) return
        this.note(`${host.name}'s engine starts`)
        void host.engine.restart()
      })
      return
    }
    if (kind === 'power') {
      if (host.dark) return
      this.stoppedByOthers = true
      host.powerFails()
      for (const { volumes } of host.pools) for (const id of volumes.keys()) this.ledger.checkOwners(id)
      this.loop.after(downMs, () => host.boot())
    } else {
      if (host.process === null) return
      host.killVold()
      this.loop.after(downMs, () => host.startVold())
    }
    if (oldStore && host.store?.restoreOld((copies) => this.random.pick(copies)))
      this.note('an old store is put in place')
  }

  close(): void {
    for (const host of this.hosts) host.killVold()
    this.storeFile.close()
  }

  #strike(strike: Strike, process: SimProcess): void {
    if (!this.stormy) return
    const victim =
      strike.victim === 'self' ? this.hosts.find((host) => host.process === process) : this.hosts[strike.victim]
    if (victim !== undefined) this.kill(victim, strike.kind, strike.downMs, strike.oldStore)
  }

  #failure(what: string): Error {
    return what.startsWith('engine.')
      ? new DroverError('DOCKER_UNREACHABLE', 'the engine does not answer in time')
      : new DroverError('NO_SPACE', 'no space on the pool')
  }

  #clock(): Clock {
    return { now: () => this.loop.now, monotonic: () => this.loop.now, sleep: (ms) => this.loop.wait(ms) }
  }

  #loggerOf(process: SimProcess): Logger {
    const log = (fields: object, message: string) => {
      if (process.alive) this.note(`${process.name} says: ${message} ${JSON.stringify(fields)}`)
    }
    const logger: Logger = { debug: () => {}, info: log, warn: log, error: log, child: () => logger }
    return logger
  }
}

const rowOf = (index: number, twoPools: boolean): Host => ({
  id: hostId(`h${String(index + 1).padStart(25, '0')}`),
  name: `host${index + 1}`,
  address: `host${index + 1}:7460`,
  dataAddress: `host${index + 1}:7461`,
  pools: [`btrfs:/pool-host${index + 1}`, ...(twoPools ? [`btrfs:/other-host${index + 1}`] : [])],
  control: index === 0,
  fingerprint: '',
  joinedAt: '2026-11-24T00:00:00.000Z',
})
