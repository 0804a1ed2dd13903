import { EventEmitter } from 'node:events'
import type { CertificateAuthority, TokenBook } from '../cluster/cluster.ts'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import { type Clock, every, isoNow } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Agent } from '../migrate/agent.ts'
import { Mover } from '../migrate/mover.ts'
import { ProgressBoard } from '../migrate/progress.ts'
import type { Store, StoredEvent } from '../state/store.ts'
import { askAll } from './ask-all.ts'
import { CertificateRenewals } from './certificate-renewals.ts'
import type { Control, MoveView, RecoverReport } from './control.ts'
import { examineCluster } from './doctor.ts'
import { planGroup, startGroup } from './group-moves.ts'
import { Insistence } from './insistence.ts'
import { hostByName, moveById, volumeByName } from './lookup.ts'
import { checkLostTarget } from './lost-target.ts'
import { planMove, startMove } from './moves-control.ts'
import type { ControlParts } from './parts.ts'
import { readPrices } from './price-file.ts'
import { Publisher } from './publisher.ts'
import { Reconciler } from './reconciler.ts'
import { behindError, recoverStore, settleUnknown } from './recover.ts'
import { Returns } from './returns.ts'
import { Verifications } from './verify-control.ts'
import { usageOf, volumeDetail, volumeView } from './volume-views.ts'
import { createVolume, removeVolume, resizeVolume, takeBackUnfinished } from './volumes-control.ts'

export interface ControlServiceParts {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  readonly tokens: TokenBook
  readonly ownHostId: HostId
  /** ADDR:PORT that a joiner is told. */
  readonly address: string
  agent(host: Host): Agent
  trusted(source: Host, target: Host): boolean
  /** How many moves a host ships at once; default 4. */
  readonly movesPerHost?: number
  /** By which dry runs tell money. */
  readonly priceFile?: string
  /** What renews the hosts' certificates; without it nobody does. */
  readonly signing?: { readonly authority: CertificateAuthority; readonly clusterId: ClusterId }
}

/** The control role, and its background work. */
export interface ControlService extends Control {
  start(): Promise<void>
  close(): Promise<void>
  /** Hosts have changed: tell everybody. */
  publishNow(): Promise<void>
}

const reconcileMs = 10_000
/** While a host that did not answer has still to hear how a move ended. */
const reconcileSoonMs = 500

export const createControlService = (given: ControlServiceParts): ControlService => {
  const { store, clock, logger, agent } = given
  const emitter = new EventEmitter().setMaxListeners(0)
  const publisher = new Publisher({
    ...{ store, agent, logger, clock },
    onFenced: (host, { name, epoch, owner, ownedAt, running }) =>
      emit('volume.fenced', { volume: name, host: host.name, epoch, owner, ownedAt, running }),
  })
  const reconciler = new Reconciler({ store, agent, logger, clock })
  const progress = new ProgressBoard()
  let stopTimer: (() => void) | null = null
  /** Again and again until every host has answered. */
  const insistence = new Insistence(clock, reconcileSoonMs, () => parts.reconcile())
  const reconcileSoon = (): void => insistence.wish()

  const hostById = async (id: HostId): Promise<Host> => {
    const host = (await store.hosts()).find((other) => other.id === id)
    if (host !== undefined) return host
    throw new DroverError('NO_SUCH_HOST', `host ${id} is not in the cluster any more`)
  }

  const emit = async (type: string, data: StoredEvent['data']): Promise<void> => {
    emitter.emit('event', await store.appendEvent(isoNow(clock), type, data))
  }

  const parts: ControlParts = {
    store,
    clock,
    logger,
    publisher,
    agent,
    ownHost: () => hostById(given.ownHostId),
    hostById,
    hostName: async (id) => (await store.hosts()).find((host) => host.id === id)?.name ?? id,
    emit,
    mayWrite: async () => {
      const [behindOf] = publisher.behindOf
      if (behindOf !== undefined) throw behindError(behindOf)
    },
    prices: async () => (given.priceFile === undefined ? null : readPrices(given.priceFile)),
    isVerified: (volumeId) => verifications.isRunning(volumeId),
    renewCertificate: async (host) => renewals?.renew(host),
    reconcile: async () => {
      // What an old store says of moves that it takes for open is nobody's to act upon.
      if (publisher.behindOf.size > 0) return true
      return reconciler.run().catch((error) => {
        logger.warn({ error: String(error) }, 'reconciling failed; it is tried again')
        return false
      })
    },
  }

  const renewals = given.signing === undefined ? null : new CertificateRenewals({ ...parts, ...given.signing })

  const newMover = (): Mover =>
    new Mover({
      store,
      clock,
      logger,
      progress,
      agent,
      hosts: () => store.hosts(),
      trusted: given.trusted,
      movesPerHost: given.movesPerHost,
      emit: async (type, data) => {
        await emit(type, data)
        // It may have been a way back, that is tried again.
        if (type === 'move.aborted') void returns.run()
      },
      publish: () => publisher.publish(),
      reconcileSoon,
      returnSoon: () => void returns.run(),
      mayWrite: parts.mayWrite,
    })
  let mover = newMover()
  const returns = new Returns(parts, () => mover)
  let recovering: Promise<RecoverReport> | null = null

  const verifications = new Verifications(parts)
  /** Moves without a runner go on, and rows half made are taken back; nothing while a host has seen a newer store than ours. */
  let unfinished = true
  const takeUp = async (): Promise<void> => {
    try {
      if (publisher.behindOf.size > 0 || recovering !== null) return
      if (unfinished) await takeBackUnfinished(parts)
      unfinished = false
      await mover.resume()
      void returns.run()
    } catch (error) {
      logger.warn({ error: String(error) }, 'moves are taken up later')
    }
  }

  /** Volumes that nobody could tell the owner of, when a host has come back that may know. */
  const settle = async (): Promise<void> => {
    if (publisher.behindOf.size > 0 || recovering !== null) return
    const isUnknown = (await store.volumes()).some(({ state }) => state === 'unknown')
    if (!isUnknown && !reconciler.hasStrays) return
    if ((await settleUnknown(parts, { dryRun: false })).length > 0) await afterRecovery()
  }

  const settleSoon = (): void => {
    settle().catch((error) => logger.warn({ error: String(error) }, 'unknown volumes are looked at later'))
  }

  const afterRecovery = async (): Promise<void> => {
    await publisher.publishToAll()
    await takeUp()
    reconcileSoon()
  }

  const recover = async (options: { dryRun: boolean }): Promise<RecoverReport> => {
    const report = await recoverStore(parts, options, async () => {
      await mover.close()
      await reconciler.settled()
      mover = newMover()
    })
    return report
  }

  const moveView = async (move: MoveRecord): Promise<MoveView> => ({
    ...move,
    from: await parts.hostName(move.sourceHostId),
    to: await parts.hostName(move.targetHostId),
    progress: progress.get(move.id),
    queuedBehind: mover.queuedBehind(move),
    waitsFor: progress.waitsFor(move.id),
    totalBytes: move.rounds.reduce((sum, { bytes }) => sum + bytes, 0),
  })

  return {
    async start() {
      await publisher.publishToAll()
      await takeUp()
      stopTimer = every(clock, reconcileMs, () => {
        publisher.publish()
        void renewals?.run()
        void takeUp()
        void parts.reconcile().then(settleSoon)
      })
      reconcileSoon()
      void renewals?.run()
    },
    async close() {
      stopTimer?.()
      insistence.close()
      verifications.close()
      await mover.close()
      await reconciler.settled()
    },
    publishNow: () => publisher.publishNow(),

    createVolume: async (request) => {
      const volume = await createVolume(parts, request)
      await publisher.publishNow()
      return volumeView(parts, volume, 0)
    },
    volumes: async () => {
      const volumes = (await store.volumes()).filter(({ state }) => state !== 'creating')
      const usage = await usageOf(parts, volumes)
      return Promise.all(volumes.map((volume) => volumeView(parts, volume, usage.get(volume.id) ?? null)))
    },
    volume: async (name) => volumeDetail(parts, await volumeByName(store, name), moveView),
    removeVolume: async (name, options) => {
      await removeVolume(parts, name, options)
      await publisher.publishNow()
    },
    resizeVolume: async (name, sizeBytes, { ifVersion }) =>
      volumeView(parts, await resizeVolume(parts, name, sizeBytes, ifVersion), null),
    planMove: (name, request) => planMove(parts, name, request),
    startMove: async (name, request) => moveView(await startMove(parts, mover, name, request)),
    planGroup: (label, request) => planGroup(parts, label, request),
    startGroup: async (label, request) => Promise.all((await startGroup(parts, mover, label, request)).map(moveView)),
    moves: async ({ volume, group, open }) => {
      const volumeId = volume === undefined ? undefined : (await volumeByName(store, volume)).id
      const found = await store.moves({
        ...(volumeId === undefined ? {} : { volumeId }),
        ...(group === undefined ? {} : { groupId: (await moveById(store, group)).id }),
        ...(open === undefined ? {} : { open }),
      })
      return Promise.all(found.map(moveView))
    },
    move: async (id) => moveView(await moveById(store, id)),
    cancelMove: async (id, { targetLost = false } = {}) => {
      const move = await moveById(store, id)
      if (targetLost && move.state === 'committed') {
        await checkLostTarget(parts, move)
        mover.targetIsLost(move)
        return moveView(move)
      }
      const cancelled = await store.requestCancel(move.id)
      mover.start(cancelled)
      mover.cancel(cancelled)
      return moveView(cancelled)
    },
    startVerification: async (name) => {
      await parts.mayWrite()
      return verifications.start(name)
    },
    verification: (name) => verifications.latest(name),
    discardDiffering: async (name) => {
      await parts.mayWrite()
      return verifications.discard(name)
    },
    hosts: async () => {
      const answers = await askAll(parts, (host) => host.ping({}))
      return [...answers].map(([host, answer]) => ({
        ...host,
        reachable: answer !== null,
        version: answer?.version ?? null,
      }))
    },
    removeHost: async (name) => {
      const host = await hostByName(store, name)
      if (host.control) {
        throw new DroverError('BAD_REQUEST', `host ${name} has the control role; it cannot be removed from its cluster`)
      }
      await store.removeHost(host.id)
      await publisher.publishNow()
      await emit('host.removed', { host: name })
    },
    pools: async () => {
      const volumes = await store.volumes()
      const answers = await askAll(parts, (host) => host.pools({}))
      return [...answers].flatMap(([host, pools]) =>
        (pools ?? []).map((pool) => ({
          ...pool,
          host: host.name,
          volumes: volumes.filter((volume) => volume.ownerHostId === host.id && volume.pool === pool.spec).length,
        })),
      )
    },
    issueToken: async (ttlMs) => {
      const token = await given.tokens.issue(ttlMs)
      const expiresAt = new Date(clock.now() + ttlMs).toISOString()
      return { token, command: `vol join ${given.address} --token ${token}`, expiresAt }
    },
    recover: async (options) => {
      if (recovering !== null) throw new DroverError('STORE_CONFLICT', 'a recovery is under way; wait for its end')
      recovering = recover(options)
      const report = await recovering.finally(() => {
        recovering = null
      })
      if (!options.dryRun && report.needed) await afterRecovery()
      return report
    },
    doctor: (options) => examineCluster(parts, options),
    events: (after, limit) => store.events(after, limit),
    lastEventSequence: () => store.lastEventSequence(),
    onEvent: (listener) => {
      emitter.on('event', listener)
      return () => emitter.off('event', listener)
    },
  }
}
