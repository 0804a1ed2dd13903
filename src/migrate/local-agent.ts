import pLimit from 'p-limit'
import type { HeldCertificate } from '../cluster/renewal.ts'
import type { ContainerRuntime } from '../containers/runtime.ts'
import { asDroverError } from '../domain/errors.ts'
import type { HostId, VolumeId } from '../domain/ids.ts'
import { heardHere } from '../volumes/dark-pools.ts'
import { Fence } from '../volumes/fence.ts'
import type { FirstMount } from '../volumes/first-mount.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { createVolume, removeVolume, resizeVolume } from '../volumes/lifecycle.ts'
import { examine, type Surroundings, tidy } from '../volumes/remains.ts'
import { holdersBeside, isMountedHere } from '../volumes/usage.ts'
import type { Agent, Holding, MoveCommand, Recall, ReceiveArgs, SendArgs, TableUpdate } from './agent.ts'
import { startWithin } from './conduit.ts'
import { dropEndedJournal, dropEndedJournals } from './ended-journals.ts'
import { expectHandover, offerHandover, prepareHandover, takeHandover } from './handover/handover-calls.ts'
import { type Hooks, noHooks } from './hooks.ts'
import { MoveJournal } from './move-journal.ts'
import { isHandover } from './move-snapshots.ts'
import { heldIn } from './role-change.ts'
import { sendConduit } from './send-conduit.ts'
import { Sessions } from './sessions.ts'
import { asSource, asTarget } from './sides.ts'
import { SourceSide, sharedBySources } from './source-side.ts'
import { TargetSide } from './target-side.ts'
import type { TransferService } from './transfer.ts'
import { noteUnprovedBase } from './unproved-base.ts'
import { discardReplica, noteContent } from './verification/kept-copies.ts'
import type { TreeDigests } from './verification/tree-digests.ts'
import { watchSealed } from './watch-sealed.ts'
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
  /** Within one host both ends of a session are here. */
  const sending = new Sessions(host.clock)
  const receiving = new Sessions(host.clock)
  const closing = new AbortController()
  const watchdog = new Watchdog(host.clock, host.logger, (command) => settleAlone(command))
  const shared = sharedBySources(host)
  const source = (about: Partial<MoveCommand>) =>
    new SourceSide(asSource(host, about), runtime, journal, watchdog, shared)
  const target = (about: Partial<MoveCommand>) => new TargetSide(asTarget(host, about), runtime, journal, firstMount)

  const around: Surroundings = {
    ...parts.around,
    verifications: () => digests.kept(),
    dropVerification: (id) => digests.end(id),
  }

  const settleAlone = async (command: MoveCommand): Promise<void> => {
    // The source waits for what reads its snapshots only: within one host what is received may hang with the other pool.
    void receiving.abortAll(command.moveId)
    await sending.abortAll(command.moveId)
    await source(command).settleAlone(command, (hostId, refused) => parts.agentOf(hostId).refuseTarget(refused))
  }

  const contentOf = async ({ backend, record }: Held): Promise<Pick<Holding, 'record' | 'snapshots' | 'partials'>> => {
    const [snapshots, partials] = await Promise.all([
      backend.snapshots?.list(record.volumeId) ?? [],
      backend.streams?.partials(record.volumeId) ?? [],
    ])
    return { record, snapshots, partials }
  }

  const holding = async (held: Held, others: readonly Held[]): Promise<Holding> => {
    const { backend, record } = held
    const [content, beside, mounted, usage, holders] = await Promise.all([
      contentOf(held),
      Promise.all(others.map(contentOf)),
      isMountedHere(host, held),
      backend.usage([record.volumeId]),
      holdersBeside(host, held),
    ])
    return { ...content, mounted, usedBytes: usage.get(record.volumeId) ?? null, holders, beside }
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
    holding: async ({ volumeId, pool }) => {
      const copies = await host.copies(volumeId)
      const held = pool === undefined ? copies[0] : copies.find(({ backend }) => backend.spec.text === pool)
      return held === undefined
        ? null
        : holding(
            held,
            copies.filter((copy) => copy !== held),
          )
    },
    holdings: async () => (await host.allHeld()).map(({ record }) => record),
    // A record's epoch is only ever that of an owner, whatever its role is now.
    ownedSince: ({ volumeId, asker }) => heardHere(host, volumeId, asker),
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

    observe: (args) => source(args).observe(args),
    beginSource: async (args) => {
      transfers.warm()
      await source(args).begin(args)
    },
    changedBytes: (args) => source(args).changedBytes(args),
    snapshot: (args) => source(args).snapshot(args),
    dropSnapshot: (args) => source(args).dropSnapshot(args),
    send: async (args) => startSend(asSource(host, args), transfers, sending, args),
    sendImage: async (args) =>
      parts.uploadImage(args, await runtime.saveImage(args.imageName), shared.interrupts.signal(args.moveId)),
    seal: (args) => source(args).seal(args),
    quiesce: (args) => source(args).quiesce(args),
    keepAlive: (args) => source(args).keepAlive(args),
    release: (args) => source(args).release(args),
    undoSource: (args) => source(args).undoSource(args, sending.abortAll(args.moveId)),
    retire: async (args) => {
      await source(args).retire(args)
      if (args.oneHost !== true) await firstMount.forget(args.volumeId)
    },

    checkTarget: async (args) => target({}).check(args),
    beginTarget: async (args) => {
      transfers.warm()
      await target({ ...args, targetPool: args.pool }).begin(args)
    },
    hasImage: ({ imageId }) => runtime.hasImage(imageId),
    receive: async (args) => {
      await startReceive(host, target(args), transfers, receiving, args)
      const resumeToken = receiving.resumeToken(args.sessionId)
      const where = { dataAddress: parts.dataAddress(), streamVersion: await target(args).streamVersion(args) }
      return resumeToken === undefined ? where : { ...where, resumeToken }
    },
    received: async (args) => {
      await receiving.result(args.sessionId)
      return target(args).received(args)
    },
    prepareContainers: async (args) => target(args).prepareContainers(args),
    offerHandover: async (args) => offerHandover(asSource(host, args), args),
    expectHandover: async (args) => expectHandover(asTarget(host, args), args),
    prepare: async (args) =>
      isHandover(args.snapshot) ? prepareHandover(asTarget(host, args), args) : target(args).prepare(args),
    reopenTarget: async (args) => target(args).reopen(args),
    activate: async (args) => {
      await takeHandover(asTarget(host, args), args)
      await target(args).activate(args)
    },
    startContainers: async ({ again, ...args }) => {
      if (again !== true) return target(args).startContainers(args)
      return target(args).startedAgain(args, await source(args).startAgain(args))
    },
    awaitHealthy: async (args) => target(args).awaitHealthy(args),
    finishTarget: async (args) => {
      await target(args).finish(args)
      shared.interrupts.forget(args.moveId)
    },
    refuseTarget: async (args) => {
      await receiving.abortAll(args.moveId)
      await target(args).refuse(args)
    },

    runHook: async (args) => ({ ran: await hooks.run(args, shared.interrupts.signal(args.moveId)) }),
    transferStatus: ({ sessionId, waitMs, end }) => {
      const isSender = end === undefined ? sending.has(sessionId) : end === 'source'
      return (isSender ? sending : receiving).status(sessionId, waitMs)
    },
    abortTransfer: async ({ sessionId }) => {
      await Promise.all([sending, receiving].map((sessions) => sessions.abort(sessionId)))
    },

    digestSnapshot: async ({ waitMs, ...task }) =>
      digests.status((await host.mustHold(task.volumeId)).backend, task, waitMs),
    digestChunks: ({ verificationId, from, limit }) => digests.chunks(verificationId, from, limit),
    digestItems: async ({ start, ...task }) => digests.items((await host.mustHold(task.volumeId)).backend, task, start),
    endDigest: ({ verificationId }) => digests.end(verificationId),
    keptDigests: () => digests.kept(),
    noteContent: (args) => noteContent(host, args),
    discardReplica: ({ volumeId }) => discardReplica(host, volumeId),

    recover: async () => {
      await dropEndedJournals(host, journal)
      await watchSealed(host, watchdog, closing.signal)
    },
    sweep: async () => {
      await dropEndedJournals(host, journal)
      await sweep(host, digests)
    },
    close: () => {
      closing.abort()
      watchdog.close()
      host.putOff.close()
      digests.close()
    },
  }
}

const usageOf = async (host: VolumeHost, ids: readonly VolumeId[]): Promise<Record<string, number>> => {
  const found = await Promise.all(host.backends.map(async (backend) => [backend, await backend.usage(ids)] as const))
  const all: Record<string, number> = {}
  for (const id of ids) {
    const here = found.filter(([, usage]) => usage.has(id))
    const counts = here.length > 1 ? (await host.held(id))?.backend : here[0]?.[0]
    const bytes = here.find(([backend]) => backend === counts)?.[1].get(id)
    if (bytes !== undefined) all[id] = bytes
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
  host: VolumeHost,
  target: TargetSide,
  transfers: TransferService,
  sessions: Sessions,
  args: MoveCommand & ReceiveArgs,
): Promise<void> => {
  if (sessions.has(args.sessionId)) return
  // An earlier try of this move, whose control role died, may still be writing into the place that is made ready.
  await sessions.abortAll(args.moveId)
  const { conduit, resumeToken } = await target.prepareReceive(args)
  const transfer = await startWithin(conduit, (argv, landing) =>
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
  sessions.add(args.sessionId, transfer, resumeToken)
  transfer.done
    .catch((failure: unknown) => noteUnprovedBase(host, args, failure))
    .catch((error) => host.logger.warn({ error: String(error) }, 'a base that failed its proof was not noted'))
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
  const all = new Set((await host.allHeld()).map(({ record }) => record.volumeId))
  const ids = [...all].filter((id) => !digests.busy(id))
  await Promise.all(ids.map((id) => limit(() => sweepOne(id))))
}

const sweepVolume = async (host: VolumeHost, id: VolumeId): Promise<void> => {
  for (const held of await host.copies(id)) await sweepCopy(host, held)
}

const sweepCopy = async (host: VolumeHost, held: Held): Promise<void> => {
  const now = host.clock.now()
  const id = held.record.volumeId
  if (held.record.moveId !== null || held.record.hostId !== host.identity.hostId) return
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
