import { randomUUID } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { attachVolume, detachVolume } from './attachments.ts'
import { DirectApi } from './direct.ts'
import { type Disks, noDisks } from './disks.ts'
import { Faults } from './faults.ts'
import { InstanceMetadata } from './metadata.ts'
import { mustSnapshot, newId, type Snapshot, type Tags, type Times, type Volume, type World } from './model.ts'
import { mostStaleMs, type RandomFaults } from './random-faults.ts'
import { copySnapshot, createSnapshot, deleteSnapshot, describeSnapshots } from './snapshots.ts'
import { createTags } from './tags.ts'
import { Throttle } from './throttle.ts'
import { Versioned } from './versioned.ts'
import { createVolume, deleteVolume, describeVolumes, modifyVolume } from './volumes.ts'
import { type Answer, answerXml, Ec2Error, errorXml, Parameters } from './wire.ts'

type Act = (world: World, parameters: Parameters) => Record<string, Answer> | Promise<Record<string, Answer>>

const actions: Readonly<Record<string, Act>> = {
  ...{ CreateVolume: createVolume, DeleteVolume: deleteVolume, DescribeVolumes: describeVolumes },
  ...{ ModifyVolume: modifyVolume, AttachVolume: attachVolume, DetachVolume: detachVolume },
  ...{ CreateSnapshot: createSnapshot, DeleteSnapshot: deleteSnapshot, DescribeSnapshots: describeSnapshots },
  ...{ CopySnapshot: copySnapshot, CreateTags: createTags },
}

const calmPath = '/calm'

export interface Ec2Options {
  readonly times?: Partial<Times>
  readonly disks?: Disks
  readonly unitBytes?: number
  readonly quotas?: Partial<World['quotas']>
  /** Default: none. */
  readonly throttle?: { readonly burst: number; readonly perSecond: number }
  /** Of the direct API, which counts by itself. Default: none. */
  readonly directThrottle?: { readonly burst: number; readonly perSecond: number }
  readonly random?: () => number
  /** What goes wrong by itself. Default: nothing. */
  readonly randomFaults?: RandomFaults
  /** Where it listens. Default: for this machine alone. */
  readonly address?: string
}

/** A request as it came, and what came of it. */
export interface Entry {
  readonly action: string
  readonly parameters: Readonly<Record<string, string>>
  /** `done`, an error's code, or a fault. */
  outcome: string
}

const quick: Times = {
  create: 5,
  attach: 5,
  detach: 5,
  delete: 5,
  snapshot: 10,
  snapshotMib: 0,
  modify: 5,
  lag: 10,
  blockToken: 600_000,
  pageToken: 600_000,
  minute: 60_000,
}

/** The instance on which the tests believe to be. */
export const here = {
  instanceId: 'i-0123456789abcdef0',
  zone: 'eu-test-1a',
  region: 'eu-test-1',
  instanceType: 'm7i.large',
  account: '111122223333',
}
/** Another one in the same zone. */
export const beside = { ...here, instanceId: 'i-0aaaaaaaaaaaaaaaa' }
export const elsewhere = { instanceId: 'i-0fedcba9876543210', zone: 'eu-test-1b' }
/** In another region. */
export const abroad = { ...here, instanceId: 'i-0bbbbbbbbbbbbbbbb', zone: 'eu-test-2a', region: 'eu-test-2' }

/**
 * EC2 as far as volumes go, on a port of this machine, for the real SDK: states that take time, one attachment, one zone, client tokens, describes
 * that lag behind, throttling, AWS's codes. Stricter than AWS where AWS leaves it open.
 */
export class Ec2Server {
  readonly world: World
  /** The other region. */
  readonly abroad: World
  readonly journal: Entry[] = []
  readonly #server: Server
  readonly #metadata = new InstanceMetadata(() => here)
  readonly #throttle: Throttle | null
  readonly #direct: DirectApi
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #working = new Set<Promise<void>>()
  readonly #listensAt: string
  #isClosed = false

  private constructor(options: Ec2Options) {
    const now = () => performance.now()
    this.#listensAt = options.address ?? '127.0.0.1'
    this.#throttle = options.throttle === undefined ? null : new Throttle(options.throttle, now)
    const regions = new Map<string, World>()
    const shared = {
      ...{
        account: here.account,
        regions,
        faults: new Faults(options.randomFaults),
        disks: options.disks ?? noDisks,
        now,
      },
      ...{ times: { ...quick, ...options.times }, unitBytes: options.unitBytes ?? 2 ** 30 },
      quotas: { storage: 51_200, attachments: 28, blocksAPage: 10_000, ...options.quotas },
      random: options.random ?? Math.random,
      later: (ms: number, work: () => void | Promise<void>) => this.#later(ms, work),
    }
    const regionOf = (region: string, instances: readonly { instanceId: string; zone: string }[]): World => {
      const world: World = {
        ...{ ...shared, region, zones: [...new Set(instances.map(({ zone }) => zone))], stuck: new Set() },
        instances: new Map(instances.map(({ instanceId, zone }) => [instanceId, zone])),
        ...{ volumes: new Versioned<Volume>(now), snapshots: new Versioned<Snapshot>(now), tokens: new Map() },
        ...{ startTokens: new Map(), writings: new Map() },
      }
      regions.set(region, world)
      return world
    }
    this.world = regionOf(here.region, [here, beside, elsewhere])
    this.abroad = regionOf(abroad.region, [abroad])
    const { directThrottle } = options
    this.#direct = new DirectApi(this.world, this.journal, directThrottle ? new Throttle(directThrottle, now) : null)
    this.#server = createServer((request, response) => void this.#serve(request, response))
  }

  static async start(options: Ec2Options = {}): Promise<Ec2Server> {
    const server = new Ec2Server(options)
    await new Promise<void>((resolve) => server.#server.listen(0, server.#listensAt, resolve))
    return server
  }

  get endpoint(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the server does not listen')
    return `http://${this.#listensAt}:${address.port}`
  }

  /** Where nothing goes wrong, for who tests. */
  get calmEndpoint(): string {
    return `${this.endpoint}${calmPath}`
  }

  get faults(): Faults {
    return this.world.faults
  }

  /** Calls since then, but for those of metadata. */
  calls(since = 0): string[] {
    return this.journal.slice(since).map(({ action }) => action)
  }

  /** A volume with these tags, that nobody asked for. @returns its id */
  plant(tags: Tags, zone = here.zone): string {
    const id = newId('vol')
    this.world.volumes.put(id, {
      ...{ id, state: 'available', zone, size: 1, type: 'gp3', iops: 3000, throughput: 125, kmsKeyId: null },
      ...{
        lineage: id,
        snapshotId: null,
        tags,
        attachment: null,
        createdAt: new Date().toISOString(),
        modifiedAt: null,
      },
    })
    return id
  }

  /** A snapshot of nothing, with these tags. */
  plantSnapshot(tags: Tags, ownerId = this.world.account): string {
    const id = newId('snap')
    this.world.snapshots.put(id, {
      ...{
        id,
        volumeId: newId('vol'),
        lineage: id,
        state: 'completed',
        size: 1,
        ownerId,
        tags,
        startedAt: new Date().toISOString(),
      },
    })
    return id
  }

  /** Somebody puts another snapshot, with the same tags, in the place of this one. */
  async replaceSnapshot(id: string): Promise<void> {
    const old = mustSnapshot(this.world, id)
    const other = { ...old, id: newId('snap') }
    await this.world.disks.capture(id, other.id)
    this.world.snapshots.put(other.id, other)
    this.world.snapshots.put(id, null)
    await this.world.disks.drop(id)
  }

  /** With what was attached to it: AWS then shows no attachment. */
  terminate(instanceId: string): void {
    const { volumes, instances } = this.world
    instances.delete(instanceId)
    for (const volume of volumes.all()) {
      if (volume.attachment?.instanceId !== instanceId) continue
      volumes.put(volume.id, { ...volume, state: 'available', attachment: null })
    }
  }

  /** Describes tell by now what was done. */
  async settled(): Promise<void> {
    await sleep(this.world.times.lag + (this.faults.random === null ? 0 : mostStaleMs))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
    await Promise.allSettled(this.#working)
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.#metadata.answer(request, response) || (await this.#direct.answer(request, response))) return
    let body = ''
    for await (const chunk of request) body += chunk
    const parameters = new Parameters(body)
    const faults = request.url?.startsWith(calmPath) === true ? new Faults() : this.faults
    const action = parameters.text('Action') ?? ''
    const entry: Entry = { action, parameters: parameters.all, outcome: 'under way' }
    this.journal.push(entry)
    const requestId = randomUUID()
    const cut = (why: string) => {
      entry.outcome = why
      request.socket.destroy()
    }
    try {
      const fault = faults.take(action)
      if (fault === 'lost request') return cut(fault)
      if (typeof fault === 'object' && fault !== null && 'slowMs' in fault) await sleep(fault.slowMs)
      if (fault === 'throttled') throw new Ec2Error('RequestLimitExceeded', 'Request limit exceeded.', 503)
      if (fault === 'denied') throw new Ec2Error('UnauthorizedOperation', 'You are not authorized.', 403)
      if (fault === 'failing') throw new Ec2Error('InternalError', 'An internal error has occurred', 500)
      const answer = await this.#act(faults, request, parameters)
      if (fault === 'lost reply') return cut(fault)
      if (typeof fault === 'object' && fault !== null && 'lateMs' in fault) await sleep(fault.lateMs)
      entry.outcome = 'done'
      send(response, 200, answerXml(action, requestId, answer))
    } catch (error) {
      const told = error instanceof Ec2Error ? error : new Ec2Error('InternalError', String(error), 500)
      entry.outcome = told.code
      send(response, told.status, errorXml(told, requestId))
    }
  }

  async #act(faults: Faults, request: IncomingMessage, parameters: Parameters): Promise<Record<string, Answer>> {
    const action = parameters.text('Action') ?? ''
    const scope = /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d+\/([^/]+)\/ec2\/aws4_request,/
    const region = scope.exec(request.headers.authorization ?? '')?.[1] ?? ''
    const world = this.world.regions.get(region)
    if (world === undefined) {
      throw new Ec2Error('AuthFailure', 'AWS was not able to validate the provided access credentials', 401)
    }
    this.#throttle?.take()
    const act = actions[action]
    if (act === undefined)
      throw new Ec2Error('InvalidAction', `The action ${action} is not valid for this web service.`)
    if (parameters.text('DryRun') === 'true') {
      throw new Ec2Error('DryRunOperation', 'Request would have succeeded, but DryRun flag is set.', 412)
    }
    return act({ ...world, faults }, parameters)
  }

  #later(ms: number, work: () => void | Promise<void>): void {
    if (this.#isClosed) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      const working = (async () => work())().catch((error: unknown) => console.error('the EC2 server:', error))
      this.#working.add(working)
      void working.finally(() => this.#working.delete(working))
    }, ms)
    this.#timers.add(timer)
  }
}

const send = (response: ServerResponse, status: number, xml: string): void => {
  response.writeHead(status, { 'content-type': 'text/xml;charset=UTF-8' }).end(xml)
}
