import type { Backend } from '../backends/backend.ts'
import type { ContainerRuntime, ContainerSpec } from '../containers/runtime.ts'
import type { DatasetRecord, SnapshotRecord } from '../domain/dataset.ts'
import type { DatasetOptions } from '../domain/dataset-options.ts'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { FirstMount } from '../volumes/first-mount.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { datasetOf } from '../volumes/lifecycle.ts'
import type { MoveCommand, PreparedContainer, TargetReport } from './agent.ts'
import type { Conduit } from './conduit.ts'
import type { MoveJournal } from './move-journal.ts'
import { dropMoveSnapshots, intactOf, lateSnapshot, refuseEarlierSnapshot } from './move-snapshots.ts'
import { checkBound, ended, exclusively, hear, heldIn, refuseEnded, write } from './role-change.ts'
import { readinessOf, streamsOf } from './stream-kind.ts'
import { TargetContainers } from './target-containers.ts'
import { type ReceivedArgs, type ReceiveOrder, TargetReceiving } from './target-receiving.ts'
import { partialName, TargetRefusal } from './target-refusal.ts'

/** What the target of a move does. docs/move-protocol.md has the rules. */
export class TargetSide {
  readonly #host: VolumeHost
  readonly #runtime: ContainerRuntime
  readonly #journal: MoveJournal
  readonly #firstMount: FirstMount
  readonly #containers: TargetContainers
  readonly #refusal: TargetRefusal
  readonly #receiving: TargetReceiving

  constructor(host: VolumeHost, runtime: ContainerRuntime, journal: MoveJournal, firstMount: FirstMount) {
    this.#host = host
    this.#runtime = runtime
    this.#journal = journal
    this.#firstMount = firstMount
    this.#containers = new TargetContainers(host, runtime, journal)
    this.#receiving = new TargetReceiving(host)
    this.#refusal = new TargetRefusal(host, runtime, journal)
  }

  async check(args: {
    volumeId: VolumeId
    pool: string | null
    specs: readonly ContainerSpec[]
    dropMounts: readonly string[]
  }): Promise<TargetReport> {
    const copies = await this.#host.copies(args.volumeId)
    const backend = this.#poolFor(args.pool, copies[0] ?? null)
    const held = copies.find((copy) => copy.backend === backend) ?? null
    const [pool, problems, readiness] = await Promise.all([
      backend.info(),
      this.#runtime.checkCarry(args.specs, args.dropMounts),
      readinessOf(backend),
    ])
    const usable = held !== null && ['replica', 'receiving'].includes(held.record.role)
    return {
      pool,
      streamFormat: backend.streams?.format ?? null,
      ...readiness,
      intactSnapshots: usable ? await intactOf(held) : [],
      problems,
      role: held?.record.role ?? null,
      beside: copies
        .filter((copy) => copy !== held)
        .map((copy) => ({ pool: copy.backend.spec.text, role: copy.record.role })),
      differs: held?.record.snapshots.some(({ differs }) => differs === true) ?? false,
    }
  }

  begin(
    args: MoveCommand & {
      pool: string
      sizeBytes: number | null
      labels: Readonly<Record<string, string>>
      options?: DatasetOptions
      createdAt: string
    },
  ): Promise<void> {
    return this.#host.locks.run(args.volumeId, async () => {
      this.#host.epochs.check(args.volumeId, args.moveId, args.returnEpoch)
      await this.#checkBeside(args)
      const held = await this.#refusal.cleared(args, await this.#host.held(args.volumeId))
      if (held === null) {
        await hear(this.#host, args)
        await this.#host.backend(args.pool).writeRecord(this.#newRecord(args))
        return
      }
      checkBound(this.#host, held)
      const { record } = held
      if (record.moveId === args.moveId) return
      refuseEnded(record, args)
      // A replica is a base. Anything else is somebody's data.
      if (record.role !== 'replica') {
        throw new DroverError(
          'DIVERGED',
          `host ${this.#host.identity.hostName} holds a copy of volume ${args.volumeName} that is ${record.role} in pool ${record.pool}; it was left alone, remove it first`,
        )
      }
      await hear(this.#host, args)
      await write(held, {
        role: 'receiving',
        moveId: args.moveId,
        seen: Math.max(record.seen, args.epoch),
        name: args.volumeName,
        sizeBytes: args.sizeBytes,
        labels: args.labels,
        ...(args.options === undefined ? {} : { options: args.options }),
        keepUntil: null,
      })
    })
  }

  /** What other pools of this host hold is left alone, if it is no more than a replica; within a host the source is there. */
  async #checkBeside(args: MoveCommand): Promise<void> {
    for (const { record, backend } of await this.#host.heldBeside(args.volumeId)) {
      const pool = backend.spec.text
      const isSource = args.oneHost === true && pool === args.sourcePool
      if (isSource || record.role === 'replica' || record.role === 'refused') continue
      throw new DroverError(
        'DIVERGED',
        `host ${this.#host.identity.hostName} holds a copy of volume ${args.volumeName} that is ${record.role} in pool ${pool}; it was left alone, remove it first`,
      )
    }
  }

  streamVersion(args: MoveCommand): Promise<number> {
    return this.#receiving.streamVersion(args)
  }

  prepareReceive(args: MoveCommand & ReceiveOrder): Promise<{ conduit: Conduit; resumeToken?: string }> {
    return this.#receiving.prepare(args)
  }

  received(args: MoveCommand & ReceivedArgs): Promise<SnapshotRecord> {
    return this.#receiving.received(args)
  }

  prepareContainers(
    args: MoveCommand & { specs: readonly ContainerSpec[]; dropMounts: readonly string[] },
  ): Promise<void> {
    return this.#containers.prepare(args)
  }

  /** Rule 10: durable before said. */
  prepare(args: MoveCommand & { snapshot: string }): Promise<void> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'receiving', 'prepared')
      if (held.record.role === 'prepared' && held.record.snapshot === args.snapshot) return
      refuseEarlierSnapshot(args, held.record)
      if (held.record.role === 'receiving' && held.record.snapshot === args.snapshot)
        throw lateSnapshot(args, held.record)
      const streams = streamsOf(held.backend)
      const snapshot = held.record.snapshots.find((other) => other.name === args.snapshot)
      if (snapshot === undefined || !(await held.backend.snapshots?.intact(args.volumeId, snapshot))) {
        throw new DroverError(
          'STREAM_FAILED',
          `host ${this.#host.identity.hostName} does not hold snapshot ${args.snapshot} of volume ${args.volumeName} as it was received`,
        )
      }
      // An earlier S of this very move may have been promoted before the source found that more had been written.
      if (held.record.role === 'prepared') await write(held, { role: 'receiving', datasetUuid: null })
      await held.backend.destroyLive(args.volumeId)
      // Durable when it returns, as what it was made from has been since `received`.
      const live = await streams.promote(args.volumeId, args.snapshot, datasetOf(held.record))
      await write(held, {
        role: 'prepared',
        datasetUuid: live.uuid,
        snapshot: args.snapshot,
        seen: Math.max(held.record.seen, args.epoch),
      })
    })
  }

  /** More was written on the source after S: the target goes back to receiving, and remembers which S it gave up. */
  reopen(args: MoveCommand & { snapshot: string }): Promise<void> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'receiving', 'prepared')
      refuseEarlierSnapshot(args, held.record)
      if (held.record.role === 'receiving') return
      if (held.record.snapshot !== args.snapshot) throw lateSnapshot(args, held.record)
      const reopened = await write(held, { role: 'receiving', datasetUuid: null })
      await reopened.backend.destroyLive(args.volumeId)
    })
  }

  /** Rule 4: only what was committed is taken, and that is one S. */
  activate(args: MoveCommand & { snapshot: string }): Promise<void> {
    return exclusively(this.#host, args, async () => {
      const held = await heldIn(this.#host, args, 'prepared', 'owner')
      if (held.record.snapshot !== args.snapshot) throw lateSnapshot(args, held.record)
      const live = await held.backend.live(args.volumeId, { sync: false })
      if (live === null || live.uuid !== held.record.datasetUuid) {
        throw new DroverError(
          'DATASET_MISSING',
          `volume ${args.volumeName} has lost its dataset on host ${this.#host.identity.hostName}; nothing was made anew`,
        )
      }
      if (held.record.role === 'prepared') await write(held, { role: 'owner', epoch: args.epoch })
      await this.#firstMount.trust(args.volumeId)
    })
  }

  startContainers(args: MoveCommand): Promise<{ started: number }> {
    return this.#containers.start(args)
  }

  startedAgain(args: MoveCommand, containers: readonly PreparedContainer[]): Promise<{ started: number }> {
    return this.#containers.startedAgain(args, containers)
  }

  awaitHealthy(args: MoveCommand & { timeoutMs: number }): Promise<{ problem: string | null }> {
    return this.#containers.awaitHealthy(args)
  }

  async finish(args: MoveCommand & { base: string; forReturn: boolean }): Promise<void> {
    if (this.#host.epochs.hasEnded(args.volumeId, args.moveId)) {
      if (!args.forReturn) await this.#journal.drop(args.moveId, 'carried')
      return
    }
    await exclusively(this.#host, args, async () => {
      const { record } = await this.#host.mustHold(args.volumeId)
      // A crash may have come between the record and what follows it.
      if (record.moveId !== null || !record.endedMoves.includes(args.moveId)) {
        const held = await heldIn(this.#host, args, 'owner')
        if (args.forReturn) await this.#journal.keepCarried(args.moveId)
        await held.backend.streams?.abortReceive(args.volumeId, partialName(args))
        const kept = await dropMoveSnapshots(held, args, args.base)
        await write(kept, { ...ended(kept.record, args), snapshot: null })
      }
      await this.#host.epochs.record(args.volumeId, args.returnEpoch, args.moveId)
      await this.#journal.drop(args.moveId, 'target')
    })
  }

  refuse(args: MoveCommand): Promise<void> {
    return this.#refusal.refuse(args)
  }

  #poolFor(pool: string | null, held: Held | null): Backend {
    if (pool !== null) return this.#host.backend(pool)
    return held === null ? this.#host.defaultBackend() : held.backend
  }

  #newRecord(
    args: MoveCommand & {
      pool: string
      sizeBytes: number | null
      labels: Readonly<Record<string, string>>
      options?: DatasetOptions
      createdAt: string
    },
  ): DatasetRecord {
    const { clusterId, hostId } = this.#host.identity
    return {
      formatVersion: 1,
      clusterId,
      hostId,
      pool: args.pool,
      volumeId: args.volumeId,
      name: args.volumeName,
      nameVersion: 1,
      role: 'receiving',
      epoch: 0,
      seen: args.epoch,
      moveId: args.moveId,
      endedMoves: [],
      datasetUuid: null,
      snapshot: null,
      snapshots: [],
      lease: 'none',
      sizeBytes: args.sizeBytes,
      labels: args.labels,
      ...(args.options === undefined ? {} : { options: args.options }),
      createdAt: args.createdAt,
      keepUntil: null,
    }
  }
}
