import { Membership } from '../../src/cluster/membership.ts'
import { localControlPort, remoteControlPort } from '../../src/control/control-client.ts'
import { type ControlService, createControlService } from '../../src/control/control-service.ts'
import { notedStore } from '../../src/control/noted-store.ts'
import { DroverError } from '../../src/domain/errors.ts'
import type { Host } from '../../src/domain/host.ts'
import type { ClusterId, HostId } from '../../src/domain/ids.ts'
import type { MoveRequest } from '../../src/domain/move.ts'
import { every, isoNow } from '../../src/lib/clock.ts'
import type { Logger } from '../../src/lib/logger.ts'
import type { Machine } from '../../src/lib/machine.ts'
import { type Agent, isAgentMethod } from '../../src/migrate/agent.ts'
import { createLocalAgent } from '../../src/migrate/local-agent.ts'
import { createRemoteAgent } from '../../src/migrate/remote-agent.ts'
import { Catalog } from '../../src/volumes/catalog.ts'
import type { ControlPort } from '../../src/volumes/control-port.ts'
import { heardHere } from '../../src/volumes/dark-pools.ts'
import { EpochLedger } from '../../src/volumes/epoch-ledger.ts'
import { FirstMount } from '../../src/volumes/first-mount.ts'
import { VolumeHost } from '../../src/volumes/host.ts'
import { createHostVolumeService } from '../../src/volumes/host-volume-service.ts'
import type { VolumeService } from '../../src/volumes/volume-service.ts'
import { memoryDigests } from './digests.ts'
import { MemoryBackend } from './memory-backend.ts'
import type { SimProcess } from './process.ts'
import { simRuntime } from './runtime.ts'
import type { SimHost } from './sim-host.ts'

export const dataDir = '/data'
const askOthersMs = 2_000
/** Oftener than in life, so that it meets with moves. */
const sweepMs = 20_000

/** What the parts of one running `vold` are to the world around it. */
export interface Vold {
  readonly process: SimProcess
  readonly agent: Agent
  control: ControlService | null
  service: VolumeService | null
}

export interface VoldSetting {
  readonly host: SimHost
  readonly process: SimProcess
  readonly clusterId: ClusterId
  readonly control: Host
  readonly logger: Logger
  /** The row that this host has in the store. */
  readonly row: Host
}

/** The real parts put together as `src/daemon.ts` does it, in the same order, without doors and certificates. */
export const startVold = async (setting: VoldSetting): Promise<Vold> => {
  const { host: sim, process, clusterId, control: controlHost, logger, row } = setting
  const clock = process.clock(() => sim.wallClock())
  const now = () => isoNow(clock)
  const files = sim.disk.for(process)
  const machine: Machine = {
    files,
    bootId: () => process.look(() => sim.bootId),
    mountsOf: (mark) => process.look(() => sim.kernel.mountsOf(mark)),
    openersOf: (mark) => process.look(() => sim.kernel.openersOf(mark)),
    isDirectory: (path) => process.look(() => sim.kernel.ownMountAt(path.replace(/\/data$/, '')) !== undefined),
  }
  const identity = { clusterId, hostId: row.id, hostName: row.name }
  const membership = await Membership.open(dataDir, clusterId, files)
  const peers = sim.network.client(process, row.address)
  const backends = sim.pools.map((pool) => new MemoryBackend(pool, sim.kernel, process, now, clock))
  for (const backend of backends) await backend.open()
  const catalog = await Catalog.open(dataDir, files)
  const host = new VolumeHost({
    dataDir,
    backends,
    epochs: await EpochLedger.open(dataDir, files),
    catalog,
    machine,
    clock,
    logger,
    identity,
  })
  const firstMount = await FirstMount.open(
    dataDir,
    async ({ volumeId }) => {
      const others = membership.members().filter(({ id }) => id !== row.id)
      const answers = others.map(async (other) => {
        const answer = agentOf(other).ownedSince({ volumeId, asker: row.id })
        return Promise.race([answer.catch(() => 0), clock.sleep(askOthersMs).then(() => 0)])
      })
      return Math.max(0, await heardHere(host, volumeId), ...(await Promise.all(answers)))
    },
    machine,
  )
  const runtime = simRuntime(process, sim.engine)
  const transfers = sim.streams.service(process, sim.pools, row.dataAddress, now)
  const local = createLocalAgent({
    host,
    runtime,
    transfers,
    digests: memoryDigests(sim.kernel, files),
    firstMount,
    version: 'simulated',
    agentOf: (hostId) => {
      const other = membership.members().find(({ id }) => id === hostId)
      if (other === undefined) throw new Error(`host ${hostId} is no member`)
      return agentOf(other)
    },
    dataAddress: () => row.dataAddress,
    uploadImage: ({ imageId, imageName, targetHostId, targetAddress, moveId, volumeId: id }, tar) =>
      peers.upload({ address: targetAddress, hostId: targetHostId }, '/agent/image', tar, {
        moveId,
        volumeId: id,
        imageId,
        imageName,
      }),
    around: {
      mountPoints: () =>
        process.look(() => sim.kernel.mounts.flatMap(({ namespace, path }) => (namespace === 'own' ? [path] : []))),
      idleLoops: async () => [],
      detachLoop: async () => {},
      certificates: () => [],
      pluginProblem: async () => null,
      servePluginAgain: async () => {},
    },
    certificate: { request: async () => ({ certPem: '', csrPem: '' }), renew: async () => {} },
    remembered: () => ({ store: membership.seenStore(), members: membership.members() }),
    acceptTable: async ({ storeId, table, hosts }) => {
      const verdict = await membership.observe({ storeId, term: table.term, commitSequence: table.sequence })
      if (verdict === 'behind') return { behind: true }
      await membership.setMembers(hosts)
      await catalog.replace(table)
      return { behind: false }
    },
  })
  const remotes = new Map<HostId, Agent>()
  const agentOf = (other: Host): Agent => {
    if (other.id === row.id) return local
    const known = remotes.get(other.id) ?? createRemoteAgent(peers, other)
    remotes.set(other.id, known)
    return known
  }
  const vold: Vold = { process, agent: local, control: null, service: null }
  sim.network.listen(row.address, {
    process,
    handle: (path, method, body) => answer(vold, runtime, path, method, body),
  })

  if (sim.store !== null) {
    const store = notedStore(sim.store.open(process, clock), (seen) => membership.observe(seen))
    await store.putHost(row)
    const control = createControlService({
      store,
      clock,
      logger,
      tokens: { issue: async () => '', redeem: async () => {} },
      ownHostId: row.id,
      address: row.address,
      agent: agentOf,
      trusted: () => false,
    })
    vold.control = control
    await control.start()
  }

  const port: ControlPort =
    vold.control !== null
      ? localControlPort(vold.control, () => row.name)
      : remoteControlPort(peers, () => ({
          address: controlHost.address,
          hostId: controlHost.id,
          hostName: row.name,
        }))
  vold.service = createHostVolumeService(host, firstMount, port, { about: () => null })
  await local.recover()
  every(
    clock,
    sweepMs,
    () => void local.sweep().catch((error) => logger.warn({ error: String(error) }, 'sweep failed')),
  )
  return vold
}

/** What comes in over the wire. */
const answer = async (
  vold: Vold,
  runtime: ReturnType<typeof simRuntime>,
  path: string,
  method: string,
  body: unknown,
): Promise<unknown> => {
  const [, room = '', name = '', third = ''] = path.split(/[/?]/)
  if (room === 'agent' && name === 'image') {
    const { imageId, imageName } = body as { imageId: string; imageName: string }
    await runtime.loadImage({} as NodeJS.ReadableStream, imageId, imageName)
    return {}
  }
  if (room === 'agent' && isAgentMethod(name)) {
    const call = vold.agent[name] as (args: unknown) => Promise<unknown>
    return { result: await call(body) }
  }
  const { control } = vold
  if (control === null) throw new DroverError('NOT_CONTROL', 'this host does not have the control role')
  if (name === 'volumes' && method === 'POST') {
    const request: MoveRequest = {
      dropMounts: [],
      healthTimeoutMs: 60_000,
      ...(body as Partial<MoveRequest>),
    } as MoveRequest
    return control.startMove(third, request)
  }
  if (name === 'moves' && third.startsWith('volume=')) {
    const volume = decodeURIComponent(third.slice('volume='.length).split('&')[0] ?? '')
    return { items: await control.moves({ volume, open: true }) }
  }
  if (name === 'moves') return control.move(third)
  throw new DroverError('NO_SUCH_ROUTE', `${method} ${path} is not simulated`)
}
