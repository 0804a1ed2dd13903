import { rename } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { collectDefaultMetrics, Registry } from 'prom-client'
import { createAgentRoutes } from './api/agent-routes.ts'
import { createApi } from './api/app.ts'
import { registerGauges } from './api/gauges.ts'
import type { LocalEndpoints } from './api/handlers.ts'
import { createControlProxy } from './api/proxy.ts'
import { ensureLoopPool } from './backends/btrfs/loop-pool.ts'
import { createBackend } from './backends/registry.ts'
import { acceptJoin } from './cluster/accept-join.ts'
import { parseAddress } from './cluster/address.ts'
import { advertisedAddress, advertisedData, trustedBetween } from './cluster/advertise.ts'
import { fingerprintOf } from './cluster/certificates.ts'
import type { AdoptedVolume, Identity } from './cluster/cluster.ts'
import { type ClusterMember, loadOrCreateMember, saveIdentity } from './cluster/identity-files.ts'
import { requestJoin } from './cluster/join.ts'
import { Membership } from './cluster/membership.ts'
import { OwnIdentity } from './cluster/own-identity.ts'
import { createPeerClient } from './cluster/peer-client.ts'
import { certificateProblems, endOfCertificate } from './cluster/renewal.ts'
import { createClusterServer } from './cluster/tls-server.ts'
import { parseToken } from './cluster/token.ts'
import { openTokenBook } from './cluster/token-book.ts'
import { createDockerRuntime } from './containers/docker-runtime.ts'
import { localControlPort, remoteControlPort } from './control/control-client.ts'
import { type ControlService, createControlService } from './control/control-service.ts'
import { notedStore } from './control/noted-store.ts'
import { registerHost } from './control/register-host.ts'
import { asDroverError, DroverError } from './domain/errors.ts'
import type { Host } from './domain/host.ts'
import { isId, volumeId } from './domain/ids.ts'
import { parsePoolSpec } from './domain/pool.ts'
import { isoNow, systemClock } from './lib/clock.ts'
import type { DaemonConfig } from './lib/config.ts'
import { lockDataDir } from './lib/data-dir-lock.ts'
import { createExec } from './lib/exec.ts'
import { dropHalfWritten, ensureDirectory } from './lib/files.ts'
import { listenTcp } from './lib/listen.ts'
import type { Logger } from './lib/logger.ts'
import { idleLoopsOf } from './lib/loop-devices.ts'
import { bindToMachine, readMachineIdentity } from './lib/machine-identity.ts'
import { ownMounts } from './lib/mountinfo.ts'
import { RunningCommands } from './lib/running-commands.ts'
import { listenOnUnixSocket } from './lib/unix-socket.ts'
import type { Agent } from './migrate/agent.ts'
import { createHooks } from './migrate/hooks.ts'
import { createLocalAgent } from './migrate/local-agent.ts'
import { createRemoteAgent } from './migrate/remote-agent.ts'
import { createTransferService } from './migrate/transfer/service.ts'
import { createTreeDigests } from './migrate/verification/digest-service.ts'
import { openSqliteStore } from './state/sqlite-store.ts'
import type { Store } from './state/store.ts'
import { createVolumePlugin, type VolumePlugin } from './volume-plugin/plugin.ts'
import { beginAdoption, finishAdoption } from './volumes/adopt.ts'
import { Catalog } from './volumes/catalog.ts'
import type { ControlPort } from './volumes/control-port.ts'
import { EpochLedger } from './volumes/epoch-ledger.ts'
import { FirstMount } from './volumes/first-mount.ts'
import { type Held, VolumeHost } from './volumes/host.ts'
import { createHostVolumeService } from './volumes/host-volume-service.ts'
import { ensurePrivateMountRoot } from './volumes/mount-root.ts'

export interface Daemon {
  /** Clean: calls under way end, volumes stay mounted, moves are left for the next start. */
  stop(): Promise<void>
}

const askOthersMs = 2_000
const tokenTtlMs = 24 * 3_600_000
const sweepMs = 3_600_000

/** The composition root: the only place that knows every room. Reads from top to bottom as the house stands. */
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
    const backends = specs.map((spec) => createBackend({ spec: parsePoolSpec(spec), exec, logger, clock }))
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
      return Math.max(0, await local.ownedSince({ volumeId, asker: hostId }), ...(await Promise.all(answers)))
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
      uploadImage: ({ imageId, imageName, targetHostId, targetAddress, moveId, volumeId: id }, tar, signal) => {
        const headers = {
          'drover-move-id': moveId,
          'drover-volume-id': id,
          'drover-image-id': encodeURIComponent(imageId),
          'drover-image-name': encodeURIComponent(imageName),
        }
        return peers.upload({ address: targetAddress, hostId: targetHostId }, '/agent/image', tar, headers, signal)
      },
      around: {
        mountPoints: async () => (await ownMounts()).map(({ mountPoint }) => mountPoint),
        idleLoops: () => idleLoopsOf(join(config.dataDir, 'pool.img')),
        detachLoop: async (device) => void (await exec.run(['losetup', '--detach', device])),
        certificates: () => [
          { of: 'host', endsAt: endOf(identity().certPem) },
          { of: 'CA', endsAt: endOf(identity().caPem) },
        ],
        pluginProblem: async () => (await plugin?.problem()) ?? null,
        servePluginAgain: async () => {
          await ensureDirectory(config.pluginDir, 0o755)
          await plugin?.listenAgain()
        },
      },
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
    let store: Store | null = null
    let control: ControlService | null = null
    const startControl = async () => {
      const { authority } = own
      if (authority === null) return
      const tokens = openTokenBook({ dataDir: config.dataDir, caFingerprint: authority.caFingerprint, clock })
      await ensureDirectory(join(config.dataDir, 'control'))
      const file = await openSqliteStore({ path: join(config.dataDir, 'control', 'state.db'), clock })
      const opened = notedStore(file, (seen) => membership.observe(seen))
      store = opened
      await opened.putHost({
        id: identity().hostId,
        name: identity().hostName,
        address,
        dataAddress,
        pools: specs,
        control: true,
        fingerprint: identity().fingerprint,
        joinedAt: (await opened.hosts()).find(({ id }) => id === identity().hostId)?.joinedAt ?? isoNow(clock),
      })
      control = createControlService({
        store: opened,
        clock,
        logger,
        tokens,
        ownHostId: identity().hostId,
        address,
        agent: agentOf,
        signing: { authority, clusterId: identity().clusterId },
        trusted: (one, other) => trustedBetween(config.trustedLinks, one.address, other.address),
        ...(config.movesPerHost === null ? {} : { movesPerHost: config.movesPerHost }),
      })
      await control.start()
    }
    const stopControl = async () => {
      await control?.close()
      control = null
      await store?.close()
      store = null
    }
    undo.push(stopControl)
    const mustStore = (): Store => {
      if (store !== null) return store
      throw new DroverError('NOT_CONTROL', `host ${identity().hostName} does not have the control role`)
    }

    const becomeMember = async (joined: Identity) => {
      await stopControl()
      await rename(join(config.dataDir, 'control'), join(config.dataDir, `control.left-${clock.now()}`))
      host.setIdentity(joined)
      await membership.reset(joined.clusterId)
      await catalog.reset()
    }
    /** What the control role sends a new member, once that is who it is. */
    const tableComes = async () => {
      for (let waited = 0; !catalog.known && waited < 10_000; waited += 50) await clock.sleep(50)
    }

    let ready = false
    const engineProblems = async (): Promise<string[]> => {
      try {
        await runtime.ping()
        return []
      } catch (error) {
        return [asDroverError(error).message]
      }
    }
    const endpoints: LocalEndpoints = {
      version: () => {
        const { hostName, hostId, clusterId, control: isControl } = identity()
        return { version, hostName, hostId, clusterId, control: isControl }
      },
      problems: async () => [
        ...(ready ? [] : ['vold is still starting']),
        ...certificateProblems(identity(), clock),
        ...(await engineProblems()),
      ],
      init: async () => {
        if (control === null) {
          throw new DroverError(
            'CLUSTER_EXISTS',
            `host ${identity().hostName} is in the cluster of ${identity().controlAddress} already; run vol token for a further host`,
          )
        }
        return control.issueToken(tokenTtlMs)
      },
      join: async ({ address: where, token, adopt }) => {
        const asked = { address: where, token, ownAddress: address, ownDataAddress: dataAddress, pools: specs }
        const joiner = { ...asked, dataDir: config.dataDir, clock }
        // The cluster that it is in: its certificate has ended, or it or the control host has another address.
        if (!identity().control && parseToken(token).caFingerprint === fingerprintOf(identity().caPem)) {
          return joinedView(await own.replace((now) => requestJoin({ ...joiner, hostName: now.hostName, renews: now })))
        }
        if (!identity().control) {
          throw new DroverError(
            'CLUSTER_EXISTS',
            `host ${identity().hostName} is in the cluster of ${identity().controlAddress} already`,
          )
        }
        if ((await mustStore().hosts()).length > 1) {
          throw new DroverError(
            'CLUSTER_EXISTS',
            `host ${identity().hostName} has the control role of a cluster with other hosts; remove them first with vol host rm`,
          )
        }
        const held = await host.allHeld()
        const names = held.map(({ record }) => record.name)
        if (names.length > 0 && !adopt) {
          throw new DroverError(
            'ADOPT_NEEDED',
            `host ${identity().hostName} holds volumes already (${names.slice(0, 5).join(', ')}); join with --adopt to bring them along, or remove them`,
          )
        }
        if (adopt) await beginAdoption(host)
        const volumes = held
          .filter(({ record }) => record.role === 'owner' && record.hostId === identity().hostId)
          .map(adopted)
        const joined = await own.replace(async () => {
          const found = await requestJoin({ ...joiner, hostName: config.hostName, volumes })
          await becomeMember(found)
          return found
        })
        await tableComes()
        await finishAdoption(host)
        return joinedView(joined)
      },
      admit: async (request) => {
        const { authority } = own
        if (authority === null || control === null) {
          throw new DroverError(
            'NOT_CONTROL',
            `host ${identity().hostName} does not have the control role; join ${identity().controlAddress}`,
          )
        }
        const tokens = openTokenBook({ dataDir: config.dataDir, caFingerprint: authority.caFingerprint, clock })
        const answer = await acceptJoin(
          {
            identity: identity(),
            authority,
            tokens,
            clock,
            register: (joiner, volumes) => registerHost(mustStore(), joiner, volumes),
            members: () => mustStore().hosts(),
            update: (member) => mustStore().putHost(member),
          },
          request,
        )
        void pushSoon()
        return answer
      },
    }
    /** The joiner takes up its new identity a moment after our answer. */
    const pushSoon = async () => {
      for (const ms of [0, 250, 500, 1_000, 2_000]) {
        await clock.sleep(ms)
        await control?.publishNow()
      }
    }

    // api/: both doors
    const metrics = new Registry()
    collectDefaultMetrics({ register: metrics })
    registerGauges(metrics, () => control)
    const api = createApi({
      control: () => control,
      proxyToControl: createControlProxy({ peers, identity }),
      local: endpoints,
      auth: { peerOf: (request) => server.peerOf(request) },
      agentRouter: createAgentRoutes({
        agent: local,
        logger,
        controlHostId: () => identity().controlHostId,
        expectsImage: async (id, move) => {
          const record = isId(id) ? (await host.held(volumeId(id)))?.record : undefined
          return record?.moveId === move && (record.role === 'receiving' || record.role === 'prepared')
        },
        loadImage: (tar, id, name) => runtime.loadImage(tar, id, name),
      }),
      idempotency: {
        idempotentAnswer: (key) => mustStore().idempotentAnswer(key),
        putIdempotentAnswer: (answer, at) => mustStore().putIdempotentAnswer(answer, at),
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
    await startControl()

    // volume-plugin/: Docker last, when everything behind it answers
    const remotePort = remoteControlPort(peers, () => ({
      address: identity().controlAddress,
      hostId: identity().controlHostId,
      hostName: identity().hostName,
    }))
    const port = (): ControlPort =>
      control === null ? remotePort : localControlPort(control, () => identity().hostName)
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
    const [missing] = await engineProblems()
    if (missing !== undefined)
      logger.warn({ problem: missing }, 'started without Docker; containers are seen when it answers')
    logger.info({ host: identity().hostName, address, dataAddress, pools: specs, version }, 'vold is ready')
    return { stop: unwind }
  } catch (error) {
    await unwind()
    throw error
  }
}

const endOf = (pem: string): string => new Date(endOfCertificate(pem)).toISOString()

const joinedView = ({ hostName, hostId, clusterId, controlAddress }: Identity) => ({
  ...{ hostName, hostId, clusterId, controlAddress },
})

const adopted = ({ record }: Held): AdoptedVolume => ({
  id: record.volumeId,
  name: record.name,
  pool: record.pool,
  epoch: record.epoch,
  seen: record.seen,
  sizeBytes: record.sizeBytes,
  labels: record.labels,
  createdAt: record.createdAt,
})
