import type { SnapshotFacet } from '../backends/backend.ts'
import type { ContainerRuntime, ContainerSpec } from '../containers/runtime.ts'
import type { SnapshotRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { MoveId, VolumeId } from '../domain/ids.ts'
import { within } from '../lib/deadline.ts'
import { KeyedMutex } from '../lib/mutex.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { inUseBy, proveUnused, unmountOurs } from '../volumes/usage.ts'
import type { Agent, MoveCommand, PreparedContainer, SourceObservation, UndoCommand } from './agent.ts'
import { bringBack } from './bring-back.ts'
import { letGo } from './handover/handover-calls.ts'
import { Interrupts } from './interrupts.ts'
import type { MoveJournal, SourceJournal } from './move-journal.ts'
import { dropSnapshots, intactOf, isHandover, moveSnapshotPrefix, refuseEarlierSnapshot } from './move-snapshots.ts'
import { Readying } from './readying.ts'
import { bareCommand, checkBound, exclusively, hear, heldIn, refuseEnded, write } from './role-change.ts'
import { type RefuseAt, settleAlone } from './settle-alone.ts'
import { asSourceOf } from './sides.ts'
import { othersOf, type SourceParts } from './source-parts.ts'
import { retire } from './source-retire.ts'
import { undo } from './source-undo.ts'
import { readinessOf } from './stream-kind.ts'
import type { Watchdog } from './watchdog.ts'
import { asTheyWere, awaitNoMounts, captureAll, killAll, pauseAll, stopAll } from './writers.ts'

/** So long the source itself waits for what keeps the volume busy; the mover asks again while the move may wait. */
const mountsGoneTimeoutMs = 2_000
const unmountPatienceMs = 1_000
/** So long an estimate may take. */
const estimateMs = { running: 300_000, standing: 45_000 }
/** So long one call waits for a snapshot that the storage has not ended. */
const pendingPatienceMs = 20_000

/** Of a host there is one, whichever of its pools a source is about. */
export interface SharedBySources {
  readonly whole: VolumeHost
  readonly turns: KeyedMutex<VolumeId>
  readonly interrupts: Interrupts
  readonly readying: Readying
}

export const sharedBySources = (whole: VolumeHost): SharedBySources => ({
  ...{ whole, turns: new KeyedMutex(), interrupts: new Interrupts(), readying: new Readying(whole.clock) },
})

/** What the source of a move does. docs/move-protocol.md has the rules; each method names the one it keeps. */
export class SourceSide {
  readonly #host: VolumeHost
  readonly #runtime: ContainerRuntime
  readonly #journal: MoveJournal
  readonly #watchdog: Watchdog
  readonly #parts: SourceParts
  /**
   * Sealing, quiescing, releasing and undoing one volume take turns: none of them may trust what another is about to change. The
   * engine calls back into mounts, which take the host's own lock, never this one.
   */
  readonly #turns: KeyedMutex<VolumeId>
  readonly #interrupts: Interrupts
  readonly #readying: Readying

  constructor(
    host: VolumeHost,
    runtime: ContainerRuntime,
    journal: MoveJournal,
    watchdog: Watchdog,
    shared: SharedBySources = sharedBySources(host),
  ) {
    this.#host = host
    this.#runtime = runtime
    this.#journal = journal
    this.#watchdog = watchdog
    this.#parts = { host, whole: shared.whole, runtime, journal, watchdog }
    this.#turns = shared.turns
    this.#interrupts = shared.interrupts
    this.#readying = shared.readying
  }

  async observe(args: {
    volumeId: VolumeId
    volumeName: string
    alongside?: readonly string[]
    returnOf?: MoveId | null | undefined
  }): Promise<SourceObservation> {
    const held = await this.#host.mustHold(args.volumeId)
    checkBound(this.#host, held)
    const { backend, record } = held
    const [usage, nested, uses, use, specs, intactSnapshots, readiness] = await Promise.all([
      backend.usage([args.volumeId], { exact: true }),
      backend.nested(args.volumeId),
      this.#runtime.usersOf(args.volumeName),
      inUseBy(this.#host, this.#runtime, held),
      captureAll(this.#runtime, [args.volumeName, ...(args.alongside ?? [])]).then((specs) =>
        this.#asTheyWere(args, specs),
      ),
      intactOf(held),
      readinessOf(backend),
    ])
    const usedBytes = usage.get(args.volumeId)
    if (usedBytes === undefined) {
      throw new DroverError(
        'DATASET_MISSING',
        `volume ${record.name} has lost its dataset on host ${this.#host.identity.hostName}`,
      )
    }
    return {
      record,
      usedBytes,
      intactSnapshots,
      nested,
      uses,
      inUseBy: use?.text ?? null,
      specs,
      streamFormat: backend.streams?.format ?? null,
      ...readiness,
    }
  }

  begin(command: MoveCommand): Promise<void> {
    return this.#host.locks.run(command.volumeId, async () => {
      this.#host.epochs.check(command.volumeId, command.moveId, command.returnEpoch)
      const held = await this.#host.mustHold(command.volumeId)
      checkBound(this.#host, held)
      const { record } = held
      if (record.moveId === command.moveId) return
      refuseEnded(record, command)
      if (record.role !== 'owner' || record.moveId !== null) {
        throw new DroverError(
          'STALE_EPOCH',
          `volume ${record.name} is ${record.role} on host ${this.#host.identity.hostName}; move ${command.moveId} cannot begin`,
        )
      }
      // Heard only now: a begin that is refused must not make the move before it stale.
      await hear(this.#host, command)
      await write(held, { moveId: command.moveId, seen: Math.max(record.seen, command.epoch) })
    })
  }

  async changedBytes(args: MoveCommand & { snapshot: string; withinMs?: number | undefined }): Promise<number | null> {
    const { backend, record } = await this.#host.mustHold(args.volumeId)
    const since = record.snapshots.find((snapshot) => snapshot.name === args.snapshot)
    if (since === undefined || backend.snapshots === undefined) {
      throw new DroverError('NO_SUCH_SNAPSHOT', `volume ${record.name} has no snapshot ${args.snapshot}`)
    }
    const writers = record.role === 'owner' ? 'running' : 'standing'
    const enough = new AbortController()
    const signal = AbortSignal.any([enough.signal, this.#interrupts.signal(args.moveId)])
    const late = new DroverError('TIMED_OUT', `what changed of volume ${record.name} was not known in time`)
    try {
      const asked = backend.snapshots.changedBytes(args.volumeId, since, { writers, signal })
      return await within(this.#host.clock, args.withinMs ?? estimateMs[writers], asked, () => late)
    } catch (error) {
      if (error !== late) throw error
      return null
    } finally {
      enough.abort()
    }
  }

  /** @throws TIMED_OUT with `pending`: it was taken, and the storage has not ended it yet; asked again it goes on with that */
  async snapshot(args: SnapshotArgs): Promise<SnapshotRecord> {
    const signal = this.#interrupts.signal(args.moveId)
    const taken = await exclusively(this.#host, args, async () => {
      const { facet } = await this.#snapshotting(args)
      return facet.take === undefined ? null : facet.take(args.volumeId, args.name, signal)
    })
    // Without the lock: neither a mount nor an undo waits for a cloud.
    if (taken !== null && !(await taken.isWhole(pendingPatienceMs))) throw pendingSnapshot(args)
    const { snapshot, facet } = await exclusively(this.#host, args, async () => {
      const { held, facet } = await this.#snapshotting(args)
      const snapshot = await facet.create(args.volumeId, args.name, 'move')
      await write(held, {
        snapshots: [...held.record.snapshots.filter((other) => other.name !== args.name), snapshot],
        ...(args.final ? { snapshot: args.name } : {}),
      })
      return { snapshot, facet }
    })
    if (args.files !== undefined) await this.#madeReady(args, args.files.base, facet)
    return snapshot
  }

  /** Neither for this is the lock held. */
  async #madeReady(args: SnapshotArgs, base: string | null, facet: SnapshotFacet): Promise<void> {
    const names = [...(base === null ? [] : [base]), args.name]
    if (!(await this.#readying.within(pendingPatienceMs, facet, args.volumeId, names))) throw pendingSnapshot(args)
  }

  async #snapshotting(args: SnapshotArgs) {
    const held = await heldIn(
      this.#host,
      args,
      ...(args.final ? (['sealed'] as const) : (['owner', 'sealed'] as const)),
    )
    if (args.final) refuseEarlierSnapshot({ ...args, snapshot: args.name }, held.record)
    const facet = held.backend.snapshots
    if (facet === undefined) throw new DroverError('INTERNAL', `pool ${held.backend.spec.text} has no snapshots`)
    return { held, facet }
  }

  dropSnapshot(args: MoveCommand & { name: string }): Promise<void> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'owner', 'sealed')
      if (!args.name.startsWith(moveSnapshotPrefix(args))) {
        throw new DroverError(
          'INTERNAL',
          `snapshot ${args.name} was not made by move ${args.moveId}; it was left alone`,
        )
      }
      await dropSnapshots(held, (snapshot) => snapshot.name === args.name)
    })
  }

  /** Rule 1: seal before stop. Rule 9: nested datasets are looked for again. Rule 13: a pull takes only what is idle. */
  seal(args: MoveCommand & { onlyIdle: boolean }): Promise<void> {
    return this.#turns.run(args.volumeId, () => exclusively(this.#host, args, () => this.#seal(args)))
  }

  async #seal(args: MoveCommand & { onlyIdle: boolean }): Promise<void> {
    const held = await heldIn(this.#host, args, 'owner', 'sealed')
    this.#watchdog.watch(args)
    if (held.record.role === 'sealed') return
    // Writers are journaled under a seal only, so an undo took that seal back. It is finished, for what was journaled is of before.
    if ((await this.#journal.source(args.moveId)) !== null) {
      throw new DroverError(
        'STALE_EPOCH',
        `move ${args.moveId} of volume ${held.record.name} is being undone on host ${this.#host.identity.hostName}; it does not go on`,
      )
    }
    if (args.onlyIdle) {
      const use = await inUseBy(this.#host, this.#runtime, held)
      if (use !== null) {
        throw new DroverError(
          'VOLUME_IN_USE',
          `volume ${held.record.name} is in use on host ${this.#host.identity.hostName} by ${use.text}; stop it there or use vol move`,
        )
      }
    }
    await write(held, { role: 'sealed' })
  }

  quiesce(args: QuiesceArgs): Promise<{ specs: ContainerSpec[] }> {
    const signal = this.#interrupts.signal(args.moveId)
    return this.#turns.run(args.volumeId, () => this.#quiesce(args, signal))
  }

  async #quiesce(args: QuiesceArgs, signal: AbortSignal): Promise<{ specs: ContainerSpec[] }> {
    signal.throwIfAborted()
    await hear(this.#host, args)
    this.#watchdog.watch(args)
    const held = await heldIn(this.#host, args, 'sealed')
    const journal = (await this.#journal.source(args.moveId)) ?? (await this.#journalWriters(args))
    const { specs } = journal
    await Promise.all(specs.map((spec) => this.#runtime.disarm(spec.id)))
    if (journal.mode === 'pause' && !journal.killed) await pauseAll(this.#runtime, specs)
    else {
      await this.#journal.writeSource({ ...journal, stopping: true })
      await this.#stopAndUnmount(args, held, specs, signal)
    }
    const nested = await held.backend.nested(args.volumeId)
    if (nested.length > 0) throw nestedError(held.record.name, nested)
    return { specs: [...specs] }
  }

  async keepAlive(command: MoveCommand): Promise<void> {
    if (this.#host.epochs.hasEnded(command.volumeId, command.moveId)) return
    this.#watchdog.watch(command)
  }

  /** Rules 2 and 3. After it answered `changed: false`, this host never writes the volume again without a stored abort. */
  release(args: ReleaseArgs): Promise<{ changed: boolean }> {
    const signal = this.#interrupts.signal(args.moveId)
    return this.#turns.run(args.volumeId, () => this.#release(args, signal))
  }

  async #release(args: ReleaseArgs, signal: AbortSignal): Promise<{ changed: boolean }> {
    signal.throwIfAborted()
    this.#watchdog.watch(args)
    const before = await heldIn(this.#host, args, 'sealed', 'released')
    if (before.record.role === 'released') return { changed: false }
    const journal = await this.#journal.source(args.moveId)
    if (journal === null)
      throw new DroverError(
        'STALE_EPOCH',
        `move ${args.moveId} has journaled no writers on host ${this.#host.identity.hostName}`,
      )
    if (journal.mode === 'pause' && !journal.killed) {
      // Journaled before the kill: from here on an undo is a restart.
      await this.#journal.writeSource({ ...journal, killed: true, targetHostId: args.targetHostId })
      await killAll(this.#runtime, journal.specs)
    } else await this.#journal.writeSource({ ...journal, targetHostId: args.targetHostId })
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'sealed')
      await awaitNoMounts(this.#host, this.#host.clock, held, mountsGoneTimeoutMs, signal)
      await unmountOurs(this.#host, held, unmountPatienceMs)
      await proveUnused(this.#host, held)
      if (!(await this.#unchanged(held, args))) return { changed: true }
      if (args.proveOnly) return { changed: false }
      await write(held, { role: 'released', seen: Math.max(held.record.seen, args.epoch) })
      return { changed: false }
    })
  }

  /**
   * What the move still waits for here gives up first, so that the writers are back soon. `streamsEnded`: nobody reads its snapshots
   * any more.
   */
  undoSource(args: UndoCommand, streamsEnded: Promise<void> = Promise.resolve()): Promise<void> {
    if (this.#host.epochs.hasEnded(args.volumeId, args.moveId)) return streamsEnded
    this.#interrupts.interrupt(args.moveId)
    return this.#turns.run(args.volumeId, () => undo(this.#parts, args, streamsEnded))
  }

  settleAlone(command: MoveCommand, refuseAt: RefuseAt): Promise<void> {
    const { runtime, journal, watchdog, whole } = this.#parts
    const shared = { whole, turns: this.#turns, interrupts: this.#interrupts, readying: this.#readying }
    return settleAlone(this.#parts, command, refuseAt, (args) =>
      new SourceSide(asSourceOf(whole, args), runtime, journal, watchdog, shared).undoSource(args),
    )
  }

  async retire(args: RetireArgs): Promise<void> {
    if (this.#host.epochs.hasEnded(args.volumeId, args.moveId)) return
    await retire(this.#parts, args)
    // A late call of it may still wait for something.
    this.#interrupts.interrupt(args.moveId)
  }

  /**
   * Within one host: the very containers that were stopped here, upon the copy that this host's target side owns by now. Nothing could
   * start meanwhile, so what runs is left alone.
   */
  async startAgain(args: MoveCommand): Promise<PreparedContainer[]> {
    const journal = await this.#journal.source(args.moveId)
    if (journal === null) return []
    const { specs } = journal
    const refused = await bringBack(this.#parts, { ...journal, killed: false, stopping: false })
    if (refused.length > 0) throw new DroverError('DOCKER_FAILED', `not started again: ${refused.join('; ')}`)
    return Promise.all(specs.map(async (spec) => ({ id: (await this.#runtime.find(spec.name))?.id ?? spec.id, spec })))
  }

  /** What goes back goes as it came. */
  async #asTheyWere(args: { returnOf?: MoveId | null | undefined }, specs: ContainerSpec[]): Promise<ContainerSpec[]> {
    if (args.returnOf == null) return specs
    return asTheyWere(specs, (await this.#journal.carried(args.returnOf))?.containers ?? [])
  }

  async #journalWriters(args: QuiesceArgs): Promise<SourceJournal> {
    const specs = await this.#writersOf(args)
    const journal: SourceJournal = {
      command: bareCommand(args),
      mode: args.mode,
      specs,
      killed: false,
      stopping: false,
      targetHostId: null,
      ...(args.group === undefined ? {} : { group: args.group }),
    }
    await this.#journal.writeSource(journal)
    return journal
  }

  /** Of a group the lead has the containers of all volumes, each once, and the others none. */
  async #writersOf(args: QuiesceArgs): Promise<ContainerSpec[]> {
    const { volumeName, moveId, group } = args
    if (group === undefined) return this.#asTheyWere(args, await captureAll(this.#runtime, [volumeName]))
    if (group.leadId !== moveId) return []
    const names = othersOf(group, moveId).map((other) => other.volumeName)
    return this.#asTheyWere(args, await captureAll(this.#runtime, [volumeName, ...names]))
  }

  async #stopAndUnmount(
    args: MoveCommand,
    held: Held,
    specs: readonly ContainerSpec[],
    signal: AbortSignal,
  ): Promise<void> {
    await stopAll(this.#runtime, specs, signal)
    await awaitNoMounts(this.#host, this.#host.clock, held, mountsGoneTimeoutMs, signal)
    await this.#host.locks.run(args.volumeId, () => unmountOurs(this.#host, held, unmountPatienceMs))
  }

  /** The live dataset is as it was at S, which was taken of it under this very seal. */
  async #unchanged(held: Held, { snapshot, quick = false }: ReleaseArgs): Promise<boolean> {
    const { record, backend } = held
    if (record.snapshot === snapshot && isHandover(snapshot)) return letGo(held).then(() => true)
    if (record.snapshot !== snapshot || backend.snapshots === undefined) return false
    return backend.snapshots.unchangedSince(record.volumeId, snapshot, { quick })
  }
}

const pendingSnapshot = ({ volumeName, name }: { volumeName: string; name: string }): DroverError =>
  new DroverError(
    'TIMED_OUT',
    `snapshot ${name} of volume ${volumeName} was taken, and its storage has not ended it yet, or not made it ready to be read`,
    {
      details: { pending: true },
    },
  )

type SnapshotArgs = Parameters<Agent['snapshot']>[0]
type QuiesceArgs = Parameters<Agent['quiesce']>[0]
type ReleaseArgs = Parameters<Agent['release']>[0]
type RetireArgs = Parameters<Agent['retire']>[0]

export const nestedError = (volume: string, nested: readonly string[]): DroverError =>
  new DroverError(
    'NESTED_DATASET',
    `volume ${volume} holds nested subvolumes (${nested.slice(0, 3).join(', ')}), which a snapshot would leave empty; remove them or make them directories`,
    { details: { nested } },
  )
