import type { AskedMove } from '../../src/control/control.ts'
import type { DatasetRecord } from '../../src/domain/dataset.ts'
import { asDroverError } from '../../src/domain/errors.ts'
import { besideName, groupLabel, volumeName, writerName } from './names.ts'
import type { Act } from './scenario.ts'
import type { SimHost } from './sim-host.ts'
import type { World } from './world.ts'

const image = 'sha256:writer'

/** What people do, and what befalls machines: each act once, whatever comes of it. */
export class People {
  readonly #world: World
  /** Containers that people have run, by name; the host each was made on. */
  readonly made = new Map<string, SimHost>()
  /** Acts under way. */
  busy = 0

  constructor(world: World) {
    this.#world = world
  }

  async createVolume(): Promise<void> {
    const { control, scenario } = this.#world
    const host = this.#world.host(scenario.owner).name
    const labels = { app: 'shop' }
    await control?.createVolume({ name: volumeName, host, labels })
    if (scenario.group === true) await control?.createVolume({ name: besideName, host, labels })
  }

  /** `docker run` of the writer on its host. */
  async runWriter(): Promise<void> {
    const { scenario, hosts } = this.#world
    const { writer } = scenario
    for (const host of hosts) if (writer === null || writer.imageEverywhere) host.engine.images.add(image)
    if (writer !== null) await this.#run(this.#world.host(scenario.owner), writerName)
  }

  do(act: Act): void {
    this.#world.note(`people: ${JSON.stringify(act)}`)
    this.busy += 1
    this.#act(act)
      .catch((error) => this.#world.note(`people hear: ${asDroverError(error).message}`))
      .finally(() => {
        this.busy -= 1
      })
  }

  async #act(act: Act): Promise<void> {
    const world = this.#world
    const { loop, network, hosts } = world
    switch (act.kind) {
      case 'move': {
        const request: AskedMove = {
          ...(await this.#whereTo(act.to)),
          quiesce: act.quiesce,
          containers: act.containers,
          dropMounts: [],
          healthTimeoutMs: 10_000,
          onlyIdle: false,
          // By when it is asked for: a further draw would make every seed another story.
          verify: act.to !== 'otherPool' && Math.floor(loop.now) % 3 === 0,
          maxDowntimeMs: act.maxDowntimeMs,
        }
        if (world.scenario.group === true) {
          await this.#unlessDown(world.control?.startGroup(groupLabel, { ...request, to: request.to ?? '' }))
        } else await this.#unlessDown(world.control?.startMove(volumeName, request))
        return
      }
      case 'cancel': {
        const [open] = (await this.#unlessDown(world.control?.moves({ open: true }))) ?? []
        if (open !== undefined)
          await this.#unlessDown(world.control?.cancelMove(open.id, { targetLost: act.targetLost }))
        return
      }
      case 'start':
      case 'unpause':
      case 'stopStart': {
        const { engine } = world.host(act.host)
        const container = engine.find(writerName)
        if (container === null || !engine.up) return
        if (act.kind === 'unpause') return engine.unpause(container.id)
        if (act.kind === 'stopStart') {
          if (container.autoRemove) return
          // What they stopped is theirs to start again, should that be refused now.
          world.stoppedByOthers = true
          await engine.stop(container.id, 1)
        }
        return engine.start(container.id)
      }
      case 'run': {
        const host = world.host(act.host)
        await this.#run(host, `runs-on-${host.name}`)
        return
      }
      case 'part': {
        const [one, other] = [world.host(act.one), world.host(act.other)]
        for (const from of ['address', 'dataAddress'] as const) {
          for (const to of ['address', 'dataAddress'] as const) {
            network.part(one.row[from], other.row[to])
            loop.after(act.ms, () => network.join(one.row[from], other.row[to]))
          }
        }
        return
      }
      case 'clock':
        world.host(act.host).clockOffset += act.byMs
        return
      case 'shell': {
        const { kernel } = world.host(act.host)
        const mount = kernel.mounts.find(({ namespace, dataset }) => namespace === 'own' && dataset !== null)
        if (mount?.dataset == null) return
        const opener = { pid: kernel.newPid(), dataset: mount.dataset }
        kernel.openers.push(opener)
        loop.after(act.ms, () => {
          kernel.openers = kernel.openers.filter((other) => other !== opener)
        })
        return
      }
      case 'tamper': {
        const { pools } = world.host(act.host)
        for (const pool of pools)
          for (const { snapshots, record } of pool.volumes.values()) {
            // One that has arrived and is not recorded yet would be taken for what was sent: btrfs forgets its identity when it is flipped.
            const known = (record as DatasetRecord | null)?.snapshots.at(-1)?.name ?? ''
            const snapshot = snapshots.get(known)
            if (snapshot === undefined) continue
            snapshot.readOnly = false
            pool.change(snapshot, (files) => void files.delete([...files.keys()][0] ?? ''))
            snapshot.readOnly = true
          }
        return
      }
      case 'backUp':
        world.storeFile.backUp()
        return
      case 'kill':
      case 'power':
      case 'engine':
        world.kill(hosts[act.host] ?? world.host(0), act.kind, act.downMs, false)
    }
  }

  /** To the other pool of the host that has it, or to another host. */
  async #whereTo(to: number | 'otherPool'): Promise<Pick<AskedMove, 'to' | 'pool'>> {
    const { hosts } = this.#world
    if (to !== 'otherPool') return { to: this.#world.host(to).name }
    const volume = await this.#world.store().volumeByName(volumeName)
    const owner = hosts.find(({ row }) => row.id === volume?.ownerHostId)
    return { pool: owner?.row.pools.find((spec) => spec !== volume?.pool) }
  }

  /** The answer of a control role that dies meanwhile never comes. */
  #unlessDown<T>(call: Promise<T> | undefined): Promise<T | undefined> {
    const process = this.#world.host(0).process
    if (call === undefined || process === null) return Promise.resolve(undefined)
    return new Promise((resolve, reject) => {
      const forget = process.whenEnded(() => resolve(undefined))
      call.then(resolve, reject).finally(forget)
    })
  }

  async #run(host: SimHost, name: string): Promise<void> {
    if (!host.engine.up) return
    host.engine.images.add(image)
    const { writer } = this.#world.scenario
    const container =
      host.engine.find(name) ??
      host.engine.create({
        name,
        volumeName,
        image,
        autoRemove: writer?.autoRemove ?? false,
        labels: {},
        stopTimeoutS: writer?.stopTimeoutS ?? null,
        policy: { name: this.policy, maximumRetryCount: 0 },
      })
    this.made.set(name, host)
    await host.engine.start(container.id)
  }

  get policy(): string {
    const { writer } = this.#world.scenario
    return writer === null || writer.autoRemove ? 'no' : writer.policy
  }

  /** Once all is healed: what an engine's end has left stopped is started again, as often as it takes. */
  async startAgain(owner: SimHost): Promise<void> {
    const container = owner.engine.find(writerName)
    if (container !== null && container.state !== 'running') await owner.engine.start(container.id)
  }
}
