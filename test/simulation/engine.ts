import { DroverError } from '../../src/domain/errors.ts'
import type { EventLoop } from './event-loop.ts'
import type { Kernel } from './kernel.ts'
import type { Random } from './random.ts'
import { type WriteLedger, Writer } from './writer.ts'

export interface RestartPolicy {
  readonly name: string
  readonly maximumRetryCount: number
}

export interface Container {
  readonly id: string
  name: string
  readonly volumeName: string
  readonly image: string
  readonly autoRemove: boolean
  readonly labels: Readonly<Record<string, string>>
  readonly stopTimeoutS: number | null
  policy: RestartPolicy
  state: 'created' | 'running' | 'paused' | 'exited'
  /** By a stop: the engine then starts it no more by itself, but for `always` when it is started anew. */
  stoppedByHand: boolean
  /** It ran when the machine lost its power. */
  cutOff: boolean
  startedAt: number
  pid: number
  writer: Writer | null
}

export type NewContainer = Pick<
  Container,
  'name' | 'volumeName' | 'image' | 'autoRemove' | 'labels' | 'stopTimeoutS' | 'policy'
>

/** Docker's calls to the volume plugin, as the `vold` that runs now answers them; null: none does. */
export interface PluginPort {
  mount(volumeName: string, caller: string): Promise<string> | null
  unmount(volumeName: string, caller: string): Promise<void> | null
}

const failed = (text: string): DroverError => new DroverError('DOCKER_FAILED', text)
const unreachable = (): DroverError => new DroverError('DOCKER_UNREACHABLE', 'the engine does not answer')

/** A Docker engine with the containers of one machine. Its containers outlive it, until it is started again. */
export class Engine {
  up = true
  readonly containers = new Map<string, Container>()
  readonly images = new Set<string>()
  /** What is started here never becomes healthy. */
  isSick = false
  readonly #hostName: string
  readonly #loop: EventLoop
  readonly #random: Random
  readonly #kernel: Kernel
  readonly #plugin: PluginPort
  readonly #ledger: WriteLedger
  readonly #busy = new Map<string, Promise<unknown>>()
  #life = 0
  #count = 0

  constructor(
    hostName: string,
    parts: { loop: EventLoop; random: Random; kernel: Kernel; plugin: PluginPort; ledger: WriteLedger },
  ) {
    this.#hostName = hostName
    this.#loop = parts.loop
    this.#random = parts.random
    this.#kernel = parts.kernel
    this.#plugin = parts.plugin
    this.#ledger = parts.ledger
  }

  find(name: string): Container | null {
    return [...this.containers.values()].find((container) => container.name === name) ?? null
  }

  usersOf(volumeName: string): Container[] {
    return [...this.containers.values()].filter((container) => container.volumeName === volumeName)
  }

  create(wanted: NewContainer): Container {
    if (this.find(wanted.name) !== null) throw failed(`a container has the name ${wanted.name}`)
    if (!this.images.has(wanted.image)) throw failed(`no image ${wanted.image}`)
    const container: Container = {
      ...wanted,
      id: `${this.#hostName}-c${++this.#count}`,
      state: 'created',
      stoppedByHand: false,
      cutOff: false,
      startedAt: 0,
      pid: 0,
      writer: null,
    }
    this.containers.set(container.id, container)
    return container
  }

  start(id: string): Promise<void> {
    return this.#alone(id, async (container) => {
      if (container.state === 'running') return
      if (container.state === 'paused') throw failed(`container ${container.name} is paused`)
      await this.#start(container)
    })
  }

  /** The stop signal, then SIGKILL. The process may write until it ends. */
  stop(id: string, timeoutS: number | null): Promise<void> {
    return this.#alone(id, async (container) => {
      if (container.state === 'running' || container.state === 'paused') {
        container.stoppedByHand = true
        if (container.state === 'paused') this.#thaw(container)
        const graceMs = (timeoutS ?? container.stopTimeoutS ?? 10) * 1000
        const life = this.#life
        await this.#loop.wait(this.#random.chance(0.9) ? this.#random.next() * Math.min(400, graceMs) : graceMs)
        if (life !== this.#life) throw unreachable()
        await this.#ended(container)
      }
    })
  }

  pause(id: string): Promise<void> {
    return this.#alone(id, async (container) => {
      if (container.state === 'paused') return
      if (container.state !== 'running') throw failed(`container ${container.name} does not run`)
      container.state = 'paused'
      container.writer?.freeze()
    })
  }

  unpause(id: string): Promise<void> {
    return this.#alone(id, async (container) => {
      if (container.state === 'paused') this.#thaw(container)
    })
  }

  /** SIGKILL to all its processes, frozen or not. */
  kill(id: string): Promise<void> {
    return this.#alone(id, async (container) => {
      if (container.state === 'running' || container.state === 'paused') await this.#ended(container)
    })
  }

  update(id: string, policy: RestartPolicy): void {
    const container = this.containers.get(id)
    if (container !== undefined) container.policy = policy
  }

  rename(id: string, name: string): void {
    const container = this.containers.get(id)
    if (container === undefined) throw failed(`no container ${id}`)
    if (container.name === name) return
    if (this.find(name) !== null) throw failed(`a container has the name ${name}`)
    container.name = name
  }

  remove(id: string): void {
    const container = this.containers.get(id)
    if (container === undefined) return
    if (container.state === 'running' || container.state === 'paused') throw failed(`container ${container.name} runs`)
    this.containers.delete(id)
  }

  /** kill -9 of the engine: its containers run on. */
  crash(): void {
    this.up = false
    this.#life += 1
    this.#busy.clear()
  }

  /** What runs from before is killed; then what its policy says is started. */
  async restart(): Promise<void> {
    this.#life += 1
    this.#busy.clear()
    this.up = true
    const wereRunning: Container[] = []
    for (const container of [...this.containers.values()]) {
      if (container.state === 'running' || container.state === 'paused') this.#dies(container)
      else if (!container.cutOff) continue
      container.cutOff = false
      wereRunning.push(container)
      if (container.autoRemove) this.containers.delete(container.id)
    }
    const wanted = [...this.containers.values()].filter(
      (container) =>
        container.policy.name === 'always' ||
        (['unless-stopped', 'on-failure'].includes(container.policy.name) &&
          wereRunning.includes(container) &&
          !container.stoppedByHand),
    )
    for (const container of wanted) {
      if (container.state === 'created') continue
      this.start(container.id).catch(() => undefined)
    }
    await Promise.resolve()
  }

  powerFails(): void {
    this.crash()
    for (const container of [...this.containers.values()]) {
      if (container.state !== 'running' && container.state !== 'paused') continue
      container.writer?.end()
      container.writer = null
      container.state = 'exited'
      container.cutOff = true
    }
  }

  async #start(container: Container): Promise<void> {
    const life = this.#life
    await this.#loop.wait(20 + this.#random.next() * 150)
    if (life !== this.#life) throw unreachable()
    const path = await this.#mount(container, life)
    const mounted = this.#kernel.ownMountAt(path.replace(/\/data$/, ''))
    if (mounted === undefined || mounted.dataset === null) {
      throw failed(`container ${container.name} cannot start: ${path} is not there`)
    }
    this.#kernel.mount('/data', container.id, mounted.volumeId, mounted.dataset, this.#kernel.newPid())
    container.state = 'running'
    container.stoppedByHand = false
    container.startedAt = this.#loop.now
    container.pid = this.#kernel.newPid()
    container.writer = new Writer(
      { loop: this.#loop, random: this.#random, kernel: this.#kernel, ledger: this.#ledger },
      { host: this.#hostName, container: container.id, volumeId: mounted.volumeId, dataset: mounted.dataset },
    )
  }

  /** The engine's client of plugins tries again while nobody answers, for half a minute. */
  async #mount(container: Container, life: number): Promise<string> {
    const until = this.#loop.now + 30_000
    for (;;) {
      const answer = this.#plugin.mount(container.volumeName, `${container.id}@${this.#loop.now}`)
      if (answer !== null) {
        const path = await answer.catch((error: unknown) => error as Error)
        if (life !== this.#life) throw unreachable()
        if (typeof path === 'string') return path
        if (!(path instanceof PluginGone)) throw failed(`container ${container.name} cannot start: ${path.message}`)
      }
      if (this.#loop.now > until) throw failed(`container ${container.name} cannot start: plugin drover not found`)
      await this.#loop.wait(500)
      if (life !== this.#life) throw unreachable()
    }
  }

  #thaw(container: Container): void {
    container.state = 'running'
    container.writer?.thaw()
  }

  #dies(container: Container): void {
    container.writer?.end()
    container.writer = null
    container.state = 'exited'
    this.#kernel.leave(container.id)
  }

  /** Its end: mounts go, the plugin is told (if it answers), and the policy decides. */
  async #ended(container: Container): Promise<void> {
    container.writer?.end()
    container.writer = null
    const life = this.#life
    // The end is told a moment before the mounts are gone.
    await this.#loop.wait(this.#random.next() * 30)
    if (life !== this.#life) throw unreachable()
    this.#dies(container)
    void this.#plugin.unmount(container.volumeName, container.id)?.catch(() => undefined)
    if (container.autoRemove) {
      this.containers.delete(container.id)
      return
    }
    const again = ['always', 'unless-stopped', 'on-failure'].includes(container.policy.name) && !container.stoppedByHand
    if (again) this.#loop.after(100, () => void this.start(container.id).catch(() => undefined))
  }

  /** One change of a container at a time; while the engine works on it, others wait. */
  async #alone(id: string, work: (container: Container) => Promise<void>): Promise<void> {
    const life = this.#life
    const before = this.#busy.get(id) ?? Promise.resolve()
    const mine = before
      .catch(() => undefined)
      .then(async () => {
        if (life !== this.#life) throw unreachable()
        const container = this.containers.get(id)
        if (container === undefined) throw failed(`no container ${id}`)
        await work(container)
      })
    this.#busy.set(id, mine)
    await mine
  }
}

/** The `vold` that was asked ended before it answered. */
export class PluginGone extends Error {}
