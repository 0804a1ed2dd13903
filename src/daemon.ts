import { createServer } from 'node:http'
import { join } from 'node:path'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { createAgentRoutes } from './api/agent-routes.ts'
import { createApi } from './api/app.ts'
import { registerGauges } from './api/gauges.ts'
import { createControlProxy } from './api/proxy.ts'
import { CallBudget } from './backends/block/ebs/budget.ts'
import { ensureLoopPool } from './backends/btrfs/loop-pool.ts'
import { createBackend } from './backends/registry.ts'
import { parseAddress } from './cluster/address.ts'
import { advertisedAddress, advertisedData } from './cluster/advertise.ts'
import type { Identity } from './cluster/cluster.ts'
import { type ClusterMember, loadOrCreateMember, saveIdentity } from './cluster/identity-files.ts'
import { Membership } from './cluster/membership.ts'
import { OwnIdentity } from './cluster/own-identity.ts'
import { createPeerClient } from './cluster/peer-client.ts'
import { createClusterServer } from './cluster/tls-server.ts'
import { createDockerRuntime } from './containers/docker-runtime.ts'
import { localControlPort, remoteControlPort } from './control/control-client.ts'
import { ControlRole } from './daemon/control-role.ts'
import { createLocalEndpoints, engineProblems } from './daemon/local-endpoints.ts'
import { createSurroundings, imagesOver } from './daemon/surroundings.ts'
import { DroverError } from './domain/errors.ts'
import type { Host } from './domain/host.ts'
import { isId, volumeId } from './domain/ids.ts'
import { parsePoolSpec } from './domain/pool.ts'
import { systemClock } from './lib/clock.ts'
import type { DaemonConfig } from './lib/config.ts'
import { lockDataDir } from './lib/data-dir-lock.ts'
import { createExec } from './lib/exec.ts'
import { dropHalfWritten, ensureDirectory } from './lib/files.ts'
import { listenTcp } from './lib/listen.ts'
import type { Logger } from './lib/logger.ts'
import { bindToMachine, readMachineIdentity } from './lib/machine-identity.ts'
import { RunningCommands } from './lib/running-commands.ts'
import { listenOnUnixSocket } from './lib/unix-socket.ts'
import type { Agent } from './migrate/agent.ts'
import { createHooks } from './migrate/hooks.ts'
import { createLocalAgent } from './migrate/local-agent.ts'
import { createRemoteAgent } from './migrate/remote-agent.ts'
import { createTransferService } from './migrate/transfer/service.ts'
import { createTreeDigests } from './migrate/verification/digest-service.ts'
import { createVolumePlugin, type VolumePlugin } from './volume-plugin/plugin.ts'
import { finishAdoption } from './volumes/adopt.ts'
import { Catalog } from './volumes/catalog.ts'
import type { ControlPort } from './volumes/control-port.ts'
import { heardHere } from './volumes/dark-pools.ts'
import { EpochLedger } from './volumes/epoch-ledger.ts'
import { FirstMount } from './volumes/first-mount.ts'
import { VolumeHost } from './volumes/host.ts'
import { createHostVolumeService } from './volumes/host-volume-service.ts'
import { ensurePrivateMountRoot } from './volumes/mount-root.ts'

export interface Daemon {
  /** Clean: calls under way end, volumes stay mounted, moves are left for the next start. */
  stop(): Promise<void>
}

const askOthersMs = 2_000
const sweepMs = 3_600_000

/** The composition root: with what stands in `daemon/` the only place that knows every room. Reads from top to bottom as the house stands. */
export const startDaemon = async (config: DaemonConfig, logger: Logger, version: string): Promise<Daemon> => {
  const clock = systemClock
  if (process.getuid?.() !== 0)
    throw new DroverError('NOT_PERMITTED', 'vold mounts file systems and must run as root; start it as root')
  const undo: (() => Promise<unknown> | unknown)[] = []
  const unwind = async () => {
    for (const step of undo.reverse()) {
      try {
        await step()
      } catch (error) {
        logger.warn({ error: String(error) }, 'stopping: a step failed')
      }
    }
  }

  try {
    const lock = await lockDataDir(config.dataDir)
    undo.push(() => lock.release())
    for (const directory of ['.', 'moves', 'cluster']) await dropHalfWritten(join(config.dataDir, directory))
    await bindToMachine(config.dataDir, await readMachineIdentity(), config.confirmMachine)
    await ensureDirectory(config.runDir)
    const running = new RunningCommands(clock)
    const exec = createExec(logger, running)

    // cluster/: who we are
    const address = advertisedAddress(config.listen, config.advertise)
    const dataAddress = advertisedData(address, config.dataListen)
    let member: ClusterMember = await loadOrCreateMember({
      dataDir: config.dataDir,
      hostName: config.hostName,
      address,
      clock,
    })
    if (member.identity.control && member.identity.controlAddress !== address) {
      member = { ...member, identity: { ...member.identity, controlAddress: address } }
      await saveIdentity(config.dataDir, member.identity)
    }
    const own = new OwnIdentity(config.dataDir, member)
    const identity = (): Identity => own.current
    const membership = await Membership.open(config.dataDir, identity().clusterId)
    const peers = createPeerClient(identity())
    own.follow((next) => peers.setIdentity(next))
    undo.push(() => peers.close())

    // backends/, volumes/: what is here
    const defaultPool = () =>
      ensureLoopPool({
        dataDir: config.dataDir,
        exec,
        logger,
        ...(config.defaultPoolBytes === null ? {} : { sizeBytes: config.defaultPoolBytes }),
      })
    const specs = config.pools.length > 0 ? config.pools : [await defaultPool()]
    const notes = join(config.dataDir, 'cloud')
    const cloud = { notes, cluster: () => identity().clusterId, budget: new CallBudget(clock) }
    const backends = specs.map((spec) => createBackend({ spec: parsePoolSpec(spec), exec, logger, clock, cloud }))
    for (const backend of backends) {
      await backend.open()
      undo.push(() => backend.close())
    }
    const runtime = createDockerRuntime({ socketPath: config.docker, clock, logger, exec })
    await ensurePrivateMountRoot(exec, join(config.dataDir, 'mnt'))
    const catalog = await Catalog.open(config.dataDir)
    const host = new VolumeHost({
      dataDir: config.dataDir,
      backends,
      epochs: await EpochLedger.open(config.dataDir),
      catalog,
      clock,
      logger,
      identity: identity(),
      containerNames: () => runtime.names(),
    })
    const firstMount = await FirstMount.open(config.dataDir, async ({ volumeId }) => {
      const { hostId } = identity()
      const others = membership.members().filter(({ id }) => id !== hostId)
      const answers = others.map(async (other) => {
        const answer = agentOf(other).ownedSince({ volumeId, asker: hostId })
        return Promise.race([answer.catch(() => 0), clock.sleep(askOthersMs).then(() => 0)])
      })
      return Math.max(0, await heardHere(host, volumeId), ...(await Promise.all(answers)))
    })

    // containers/, migrate/: this host as an agent
    const transfers = createTransferService({ exec, logger, clock })
    transfers.setIdentity(identity())
    own.follow((next) => transfers.setIdentity(next))
    await transfers.listen(parseAddress(config.dataListen))
    undo.push(() => transfers.close())
    let plugin: VolumePlugin | null = null
    const local = createLocalAgent({
      host,
      runtime,
      transfers,
      digests: createTreeDigests({ exec, clock, dataDir: config.dataDir }),
      firstMount,
      hooks: createHooks(config.hooks, () => identity().hostName),
      version,
      agentOf: (hostId) => {
        const other = membership.members().find(({ id }) => id === hostId)
        if (other !== undefined) return agentOf(other)
        throw new DroverError('NO_SUCH_HOST', `host ${hostId} is no member of the cluster any more`)
      },
      dataAddress: () => dataAddress,
      uploadImage: imagesOver(peers),
      around: createSurroundings({ config, exec, own, plugin: () => plugin }),
      certificate: own,
      remembered: () => ({ store: membership.seenStore(), members: membership.members() }),
      acceptTable: async ({ storeId, table, hosts }) => {
        const verdict = await membership.observe({ storeId, term: table.term, commitSequence: table.sequence })
        if (verdict === 'behind') return { behind: true }
        await membership.setMembers(hosts)
        await catalog.replace(table)
        return { behind: false }
      },
    })
    undo.push(() => local.close())
    const remotes = new Map<string, Agent>()
    const agentOf = (other: Host): Agent => {
      if (other.id === identity().hostId) return local
      const key = `${other.id} ${other.address}`
      const known = remotes.get(key) ?? createRemoteAgent(peers, other)
      remotes.set(key, known)
      return known
    }

    // control/: on the host that has the role
    const role = new ControlRole({
      config,
      clock,
      logger,
      own,
      membership,
      agentOf,
      row: { address, dataAddress, pools: specs },
    })
    undo.push(() => role.stop())

    // api/: both doors
    let ready = false
    const endpoints = createLocalEndpoints({
      ...{ config, clock, version, own, role, host, membership, catalog },
      row: { address, dataAddress, pools: specs },
      engine: runtime,
      isReady: () => ready,
    })
    const metrics = new Registry()
    collectDefaultMetrics({ register: metrics })
    registerGauges(metrics, () => role.service)
    const api = createApi({
      control: () => role.service,
      proxyToControl: createControlProxy({ peers, identity }),
      local: endpoints,
      auth: { peerOf: (request) => server.peerOf(request) },
      agentRouter: createAgentRoutes({
        agent: local,
        logger,
        controlHostId: () => identity().controlHostId,
        expectsImage: async (id, move) => {
          const copies = isId(id) ? await host.copies(volumeId(id)) : []
          const inMove = copies.find(({ record }) => record.moveId === move)?.record
          return inMove?.role === 'receiving' || inMove?.role === 'prepared'
        },
        loadImage: (tar, id, name) => runtime.loadImage(tar, id, name),
      }),
      idempotency: {
        idempotentAnswer: (key) => role.mustStore().idempotentAnswer(key),
        putIdempotentAnswer: (answer, at) => role.mustStore().putIdempotentAnswer(answer, at),
      },
      metrics,
      logger,
      clock,
    })
    const isMember = (id: Identity['hostId']) =>
      id === identity().controlHostId || id === identity().hostId || membership.byId(id) !== null
    const server = createClusterServer({ identity: identity(), handler: api.remote, isMember })
    own.follow((next) => server.setIdentity(next))
    await listenTcp(server.server, parseAddress(config.listen))
    undo.push(() => {
      server.server.closeAllConnections()
      server.server.close()
    })
    const socket = await listenOnUnixSocket(
      createServer({ keepAliveTimeout: 65_000 }, api.local),
      join(config.runDir, 'vold.sock'),
    )
    undo.push(() => socket.close())
    undo.push(() => api.close())
    await role.start()

    // volume-plugin/: Docker last, when everything behind it answers
    const remotePort = remoteControlPort(peers, () => ({
      address: identity().controlAddress,
      hostId: identity().controlHostId,
      hostName: identity().hostName,
    }))
    const port = (): ControlPort =>
      role.service === null ? remotePort : localControlPort(role.service, () => identity().hostName)
    const service = createHostVolumeService(
      host,
      firstMount,
      {
        createVolume: (request) => port().createVolume(request),
        removeVolume: (name) => port().removeVolume(name),
        moveHere: (name) => port().moveHere(name),
        move: (id) => port().move(id),
        openMove: (name) => port().openMove(name),
      },
      running,
    )
    await ensureDirectory(config.pluginDir, 0o755)
    plugin = createVolumePlugin({ service, logger, clock, limits: config.pluginLimits })
    await plugin.listen(config.pluginDir)
    undo.push(() => plugin?.close())
    await finishAdoption(host)
    await local.recover()
    const sweeper = setInterval(
      () => void local.sweep().catch((error) => logger.warn({ error: String(error) }, 'sweep failed')),
      sweepMs,
    )
    undo.push(() => clearInterval(sweeper))
    ready = true
    const [missing] = await engineProblems(runtime)
    if (missing !== undefined)
      logger.warn({ problem: missing }, 'started without Docker; containers are seen when it answers')
    logger.info({ host: identity().hostName, address, dataAddress, pools: specs, version }, 'vold is ready')
    return { stop: unwind }
  } catch (error) {
    await unwind()
    throw error
  }
}
