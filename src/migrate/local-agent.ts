import pLimit from 'p-limit'
import type { HeldCertificate } from '../cluster/renewal.ts'
import type { ContainerRuntime } from '../containers/runtime.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { asDroverError } from '../domain/errors.ts'
import type { HostId, VolumeId } from '../domain/ids.ts'
import { Fence } from '../volumes/fence.ts'
import type { FirstMount } from '../volumes/first-mount.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { createVolume, removeVolume, resizeVolume } from '../volumes/lifecycle.ts'
import { examine, type Surroundings, tidy } from '../volumes/remains.ts'
import { holdersBeside, isMountedHere } from '../volumes/usage.ts'
import type { Agent, Holding, MoveCommand, Recall, ReceiveArgs, SendArgs, TableUpdate } from './agent.ts'
import { startWithin } from './conduit.ts'
import { dropEndedJournal, dropEndedJournals } from './ended-journals.ts'
import { type Hooks, noHooks } from './hooks.ts'
import { MoveJournal } from './move-journal.ts'
import { heldIn } from './role-change.ts'
import { sendConduit } from './send-conduit.ts'
import { Sessions } from './sessions.ts'
import { SourceSide } from './source-side.ts'
import { TargetSide } from './target-side.ts'
import type { TransferService } from './transfer.ts'
import { discardReplica, noteContent } from './verification/kept-copies.ts'
import type { TreeDigests } from './verification/tree-digests.ts'
import { Watchdog } from './watchdog.ts'

export interface LocalAgentParts {
  readonly host: VolumeHost
  readonly runtime: ContainerRuntime
  readonly transfers: TransferService
  readonly digests: TreeDigests
  readonly firstMount: FirstMount
  readonly hooks?: Hooks
  readonly version: string
  /** Another host of the cluster. @throws HOST_UNREACHABLE, NO_SUCH_HOST */
  readonly agentOf: (hostId: HostId) => Pick<Agent, 'refuseTarget'>
  /** ADDR:PORT that other hosts reach the data port at. */
  readonly dataAddress: () => string
  /** Sends an image's tar to another host. */
  readonly uploadImage: (
    args: Parameters<Agent['sendImage']>[0],
    tar: NodeJS.ReadableStream,
    signal: AbortSignal,
  ) => Promise<void>
  /** What `vol doctor` looks at beside volumes and engine. */
  readonly around: Omit<Surroundings, 'verifications' | 'dropVerification'>
  readonly certificate: HeldCertificate
  /** What is known of the store and of the cluster without it. */
  readonly remembered: () => Pick<Recall, 'store' | 'members'>
  /** @returns whether it was taken */
  readonly acceptTable: (update: TableUpdate) => Promise<{ behind: boolean }>
}

/** This host's own agent, and what must be taken up again after a restart of `vold`. */
export interface LocalAgent extends Agent {
  /** Sealed and released sources get their watchdog back. */
  recover(): Promise<void>
  /** Drops replicas and bases whose time is over. */
  sweep(): Promise<void>
  close(): void
}

export const createLocalAgent = (parts: LocalAgentParts): LocalAgent => {
  const { host, runtime, transfers, firstMount, digests, hooks = noHooks } = parts
  const fence = new Fence(host, runtime)
  const journal = new MoveJournal(host.dataDir, host.machine.files)
  const sessions = new Sessions(host.clock)
  const watchdog = new Watchdog(host.clock, host.logger, (command) => settleAlone(command))
  const source = new SourceSide(host, runtime, journal, watchdog)
  const target = new TargetSide(host, runtime, journal, firstMount)

  const around: Surroundings = {
    ...parts.around,
    verifications: () => digests.kept(),
    dropVerification: (id) => digests.end(id),
  }

  const settleAlone = async (command: MoveCommand): Promise<void> => {
    await sessions.abortAll(command.moveId)
    await source.settleAlone(command, (hostId, refused) => parts.agentOf(hostId).refuseTarget(refused))
  }

  const holding = async (held: Held): Promise<Holding> => {
    const { backend, record } = held
    const [snapshots, partials, mounted, usage, holders] = await Promise.all([
      backend.snapshots?.list(record.volumeId) ?? [],
      backend.streams?.partials(record.volumeId) ?? [],
      isMountedHere(host, held),
      backend.usage([record.volumeId]),
      holdersBeside(host, held),
    ])
    return { record, snapshots, partials, mounted, usedBytes: usage.get(record.volumeId) ?? null, holders }
  }

  return {
    ping: async () => ({ version: parts.version, hostId: host.identity.hostId }),
    pools: () => Promise.all(host.backends.map((backend) => backend.info())),
    createVolume: async (command) => {
      await createVolume(host, command)
      await firstMount.trust(command.volumeId)
    },
    removeVolume: (command) => removeVolume(host, runtime, command),
    resizeVolume: ({ volumeId, sizeBytes }) => resizeVolume(host, volumeId, sizeBytes),
    holding: async ({ volumeId }) => {
      const held = await host.held(volumeId)
      return held === null ? null : holding(held)
    },
    holdings: async () => (await host.allHeld()).map(({ record }) => record),
    // A record's epoch is only ever that of an owner, whatever its role is now.
    ownedSince: async ({ volumeId, asker }) => {
      const entry = host.catalog.entries().find(({ id }) => id === volumeId)
      const told = entry !== undefined && entry.ownerHostId !== asker ? entry.epoch : 0
      return Math.max((await host.held(volumeId))?.record.epoch ?? 0, told)
    },
    users: ({ volumeName }) => runtime.usersOf(volumeName),
    usage: ({ volumeIds }) => usageOf(host, volumeIds),
    setTable: async (update) => {
      const { behind } = await parts.acceptTable(update)
      return { behind, fenced: behind ? [] : await fence.heed(update.table) }
    },
    recall: async () => ({
      ...parts.remembered(),
      table: host.catalog.table,
      records: (await host.allHeld()).map(({ record }) => record),
      heard: host.epochs.all(),
      journals: await journal.all(),
    }),

    examine: () => examine(host, runtime, around),
    tidy: async (args) => {
      if ('remain' in args) return tidy(host, runtime, around, args.remain)
      await dropEndedJournal(host, journal, args.journal)
    },
    certificateRequest: () => parts.certificate.request(),
    renewCertificate: ({ certPem }) => parts.certificate.renew(certPem),

    observe: (args) => source.observe(args),
    beginSource: async (args) => {
      transfers.warm()
      await source.begin(args)
    },
    changedBytes: (args) => source.changedBytes(args),
    snapshot: (args) => source.snapshot(args),
    dropSnapshot: (args) => source.dropSnapshot(args),
    send: async (args) => startSend(host, transfers, sessions, args),
    sendImage: async (args) =>
      parts.uploadImage(args, await runtime.saveImage(args.imageName), source.signalOf(args.moveId)),
    seal: (args) => source.seal(args),
    quiesce: (args) => source.quiesce(args),
    keepAlive: (args) => source.keepAlive(args),
    release: (args) => source.release(args),
    undoSource: (args) => source.undoSource(args, sessions.abortAll(args.moveId)),
    retire: async (args) => {
      await source.retire(args)
      await firstMount.forget(args.volumeId)
    },

    checkTarget: (args) => target.check(args),
    beginTarget: async (args) => {
      transfers.warm()
      await target.begin(args)
    },
    hasImage: ({ imageId }) => runtime.hasImage(imageId),
    receive: async (args) => {
      await startReceive(target, transfers, sessions, args)
      return { dataAddress: parts.dataAddress(), streamVersion: await target.streamVersion(args) }
    },
    received: async (args) => {
      await sessions.result(args.sessionId)
      return target.received(args)
    },
    prepareContainers: (args) => target.prepareContainers(args),
    prepare: (args) => target.prepare(args),
    reopenTarget: (args) => target.reopen(args),
    activate: (args) => target.activate(args),
    startContainers: (args) => target.startContainers(args),
    awaitHealthy: (args) => target.awaitHealthy(args),
    finishTarget: async (args) => {
      await target.finish(args)
      source.forget(args.moveId)
    },
    refuseTarget: async (args) => {
      await sessions.abortAll(args.moveId)
      await target.refuse(args)
    },

    runHook: async (args) => ({ ran: await hooks.run(args, source.signalOf(args.moveId)) }),
    transferStatus: ({ sessionId, waitMs }) => sessions.status(sessionId, waitMs),
    abortTransfer: ({ sessionId }) => sessions.abort(sessionId),

    digestSnapshot: async ({ waitMs, ...task }) =>
      digests.status((await host.mustHold(task.volumeId)).backend, task, waitMs),
    digestChunks: ({ verificationId, from, limit }) => digests.chunks(verificationId, from, limit),
    digestItems: async ({ start, ...task }) => digests.items((await host.mustHold(task.volumeId)).backend, task, start),
    endDigest: ({ verificationId }) => digests.end(verificationId),
    noteContent: (args) => noteContent(host, args),
    discardReplica: ({ volumeId }) => discardReplica(host, volumeId),

    recover: async () => {
      await dropEndedJournals(host, journal)
      for (const { record } of await host.allHeld()) {
        if (record.moveId === null || !['sealed', 'released'].includes(record.role)) continue
        watchdog.watch(commandFrom(host, record, record.moveId))
      }
    },
    sweep: async () => {
      await dropEndedJournals(host, journal)
      await sweep(host, digests)
    },
    close: () => {
      watchdog.close()
      host.putOff.close()
      digests.close()
    },
  }
}

const commandFrom = (host: VolumeHost, record: DatasetRecord, moveId: MoveCommand['moveId']): MoveCommand => ({
  volumeId: record.volumeId,
  volumeName: record.name,
  moveId,
  epoch: record.seen,
  returnEpoch: host.epochs.seen(record.volumeId),
})

const usageOf = async (host: VolumeHost, ids: readonly VolumeId[]): Promise<Record<string, number>> => {
  const all: Record<string, number> = {}
  for (const backend of host.backends) {
    for (const [id, bytes] of await backend.usage(ids)) all[id] = bytes
  }
  return all
}

const startSend = async (
  host: VolumeHost,
  transfers: TransferService,
  sessions: Sessions,
  args: MoveCommand & SendArgs,
): Promise<void> => {
  if (sessions.has(args.sessionId)) return
  const held = await heldIn(host, args, 'owner', 'sealed')
  const transfer = await startWithin(await sendConduit(held, args), (argv) =>
    transfers.send({
      sessionId: args.sessionId,
      argv,
      peerHostId: args.targetHostId,
      address: args.dataAddress,
      plain: args.plain,
      bwlimitBytes: args.bwlimitBytes,
      compress: args.compress,
      patienceMs: args.patienceMs,
      ...(args.plain ? { ticket: args.ticket } : {}),
    }),
  )
  sessions.add(args.sessionId, transfer)
}

const startReceive = async (
  target: TargetSide,
  transfers: TransferService,
  sessions: Sessions,
  args: MoveCommand & ReceiveArgs,
): Promise<void> => {
  if (sessions.has(args.sessionId)) return
  // An earlier try of this move, whose control role died, may still be writing into the place we are about to clear.
  await sessions.abortAll(args.moveId)
  const transfer = await startWithin(await target.prepareReceive(args), (argv, landing) =>
    transfers.receive({
      sessionId: args.sessionId,
      argv,
      ...(landing === undefined ? {} : { landing }),
      peerHostId: args.sourceHostId,
      plain: args.plain,
      patienceMs: args.patienceMs,
      ...(args.plain ? { ticket: args.ticket } : {}),
    }),
  )
  sessions.add(args.sessionId, transfer)
}

const baseKeptMs = 24 * 3_600_000
const sweptAtOnce = 4

/** Several volumes at once, each by itself: one whose disk hangs, or that cannot be looked at, does not hold up the rest. */
const sweep = async (host: VolumeHost, digests: TreeDigests): Promise<void> => {
  const limit = pLimit(sweptAtOnce)
  const sweepOne = async (id: VolumeId): Promise<void> => {
    try {
      await host.locks.run(id, () => sweepVolume(host, id))
    } catch (error) {
      const reason = asDroverError(error).message
      host.logger.warn({ volume: id, reason }, 'what is over of a volume is dropped later')
    }
  }
  const ids = (await host.allHeld()).map(({ record }) => record.volumeId).filter((id) => !digests.busy(id))
  await Promise.all(ids.map((id) => limit(() => sweepOne(id))))
}

const sweepVolume = async (host: VolumeHost, id: VolumeId): Promise<void> => {
  const now = host.clock.now()
  const held = await host.held(id)
  if (held === null || held.record.moveId !== null || held.record.hostId !== host.identity.hostId) return
  const { keepUntil, role, snapshots } = held.record
  if (role === 'replica' && keepUntil !== null && Date.parse(keepUntil) < now) await held.backend.destroy(id)
  if (role !== 'owner') return
  const old = snapshots.filter(
    ({ origin, createdAt, differs }) =>
      origin === 'move' && differs !== true && Date.parse(createdAt) + baseKeptMs < now,
  )
  for (const snapshot of old) await held.backend.snapshots?.destroy(id, snapshot.name)
  if (old.length === 0) return
  await held.backend.writeRecord({
    ...held.record,
    snapshots: snapshots.filter((snapshot) => !old.includes(snapshot)),
  })
}
