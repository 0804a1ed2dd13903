import type { RenewalRequest } from '../cluster/renewal.ts'
import type { CarryProblem, ContainerSpec, ContainerUse } from '../containers/runtime.ts'
import type { DatasetRecord, Epoch, SnapshotRecord } from '../domain/dataset.ts'
import type { DatasetOptions } from '../domain/dataset-options.ts'
import type { Host } from '../domain/host.ts'
import type { HostId, MoveId, VolumeId } from '../domain/ids.ts'
import type { PoolInfo } from '../domain/pool.ts'
import type { Position } from '../lib/tree-digest/items.ts'
import type { StoreIdentity } from '../state/store.ts'
import type { CatalogTable } from '../volumes/catalog.ts'
import type { Fenced } from '../volumes/fence.ts'
import type { Holder } from '../volumes/holders.ts'
import type { CreateCommand } from '../volumes/lifecycle.ts'
import type { Examination, Remain } from '../volumes/remains.ts'
import { type HandoverCalls, handoverCalls } from './handover/handover-calls.ts'
import type { Readiness, StreamKind } from './stream-kind.ts'
import type { ChunkMark, DigestStatus, DigestTask, ItemView } from './verification/tree-digests.ts'

/** Every command of a move carries these; a host refuses what is stale by them (STALE_EPOCH). */
export interface MoveCommand {
  readonly volumeId: VolumeId
  readonly volumeName: string
  readonly moveId: MoveId
  /** n, for the target. */
  readonly epoch: Epoch
  /** n + 1, for a way back. */
  readonly returnEpoch: Epoch
  /** The move that this one takes back: its containers go back as they were. */
  readonly returnOf?: MoveId | null | undefined
  /** Which copy each side is about, where a host holds several; left out: the one that counts. */
  readonly sourcePool?: string | undefined
  readonly targetPool?: string | undefined
  /** Both sides are on one host. */
  readonly oneHost?: true | undefined
}

/** Of a move of several volumes: all of its commands, and which of them carries the containers. */
export interface GroupPart {
  readonly leadId: MoveId
  readonly members: readonly MoveCommand[]
}

/** What a host holds of one volume, looked up now. */
export interface Holding {
  readonly record: DatasetRecord
  readonly snapshots: readonly SnapshotRecord[]
  readonly partials: readonly string[]
  readonly mounted: boolean
  readonly usedBytes: number | null
  /** Who keeps it mounted or open beside the engine's containers. */
  readonly holders: readonly Holder[]
  /** What other pools of the host hold of it. */
  readonly beside?: readonly Pick<Holding, 'record' | 'snapshots' | 'partials'>[]
}

export interface SourceObservation extends Readiness {
  readonly record: DatasetRecord
  readonly usedBytes: number
  /** Recorded snapshots that are still as they were recorded: fit to be a base. */
  readonly intactSnapshots: readonly SnapshotRecord[]
  readonly nested: readonly string[]
  readonly uses: readonly ContainerUse[]
  /** Null when nobody uses it, else words for a person. */
  readonly inUseBy: string | null
  /** All containers that refer to it. */
  readonly specs: readonly ContainerSpec[]
  readonly streamFormat: string | null
}

export interface TargetReport extends Readiness {
  readonly pool: PoolInfo
  readonly streamFormat: string | null
  readonly intactSnapshots: readonly SnapshotRecord[]
  readonly problems: readonly CarryProblem[]
  readonly role: DatasetRecord['role'] | null
  /** What other pools of this host hold of the volume. */
  readonly beside?: readonly { readonly pool: string; readonly role: DatasetRecord['role'] }[]
  /** A content proof found the copy here unlike the owner's. */
  readonly differs?: boolean
}

export interface TransferStatus {
  readonly state: 'running' | 'done' | 'failed'
  readonly bytes: number
  readonly ms: number
  readonly digest: string | null
  readonly error: string | null
  /** It failed for want of a link, or because a process was killed: begun anew it may do better. */
  readonly retryable: boolean
  /** Of a sender that is done; see TransferResult. */
  readonly resentBytes: number
  readonly reconnects: number
  readonly wireBytes: number
}

/** What was carried, and under which name it waits on the target. */
export interface PreparedContainer {
  readonly id: string
  readonly spec: ContainerSpec
}

/** What a host knows by itself: together with the other hosts' enough to rebuild a store that is lost. */
export interface Recall {
  /** The furthest store that it has obeyed. */
  readonly store: StoreIdentity | null
  readonly members: readonly Host[]
  /** The table of names as it was pushed here last. */
  readonly table: CatalogTable
  readonly records: readonly DatasetRecord[]
  /** The highest epoch heard of each volume, and the moves that have ended here. */
  readonly heard: readonly { readonly volumeId: VolumeId; readonly seen: Epoch; readonly ended: readonly MoveId[] }[]
  readonly journals: readonly JournalNote[]
}

/** That this host is in a move, by its journal. `targetHostId`: as the source knows it. */
export interface JournalNote {
  readonly side: 'source' | 'target' | 'carried'
  readonly command: MoveCommand
  readonly targetHostId: HostId | null
  /** As the source of a group knows it. */
  readonly group?: GroupPart | undefined
}

export type UndoCommand = MoveCommand & { ownerEpoch: Epoch; abortStored: boolean; reclaim?: boolean }

/**
 * One host, as the control role and the mover see it. The local agent does it here; the remote agent carries the same calls over mutual
 * TLS. Every method is idempotent: it looks at the world to know what is still to do. Errors are DroverErrors, carried
 * whole; HOST_UNREACHABLE says nothing about whether it was done.
 */
export interface Agent extends HandoverCalls {
  ping(args: Record<string, never>): Promise<{ version: string; hostId: HostId }>
  pools(args: Record<string, never>): Promise<PoolInfo[]>
  createVolume(args: CreateCommand): Promise<void>
  removeVolume(args: { volumeId: VolumeId; force: boolean }): Promise<void>
  resizeVolume(args: { volumeId: VolumeId; sizeBytes: number }): Promise<void>
  /** The copy in that pool; without one, the copy that counts. */
  holding(args: { volumeId: VolumeId; pool?: string | undefined }): Promise<Holding | null>
  holdings(args: Record<string, never>): Promise<DatasetRecord[]>
  /** The highest epoch at which the volume is known here to have had an owner other than the asker; 0 when nothing is known. */
  ownedSince(args: { volumeId: VolumeId; asker: HostId }): Promise<number>
  users(args: { volumeName: string }): Promise<ContainerUse[]>
  usage(args: { volumeIds: readonly VolumeId[] }): Promise<Record<string, number>>
  /** The table of names and who is in the cluster. `behind`: this host has seen a newer store. `fenced`: copies that lost by it. */
  setTable(args: TableUpdate): Promise<TableAnswer>
  /** Everything that this host remembers, for `vol recover`. */
  recall(args: Record<string, never>): Promise<Recall>
  /** What moves and crashes may have left here, and how the machine is, for `vol doctor`. */
  examine(args: Record<string, never>): Promise<Examination>
  /** Removes one thing that is left over, after another look. @throws STALE_EPOCH when it is not provably so, VOLUME_BUSY */
  tidy(args: { remain: Remain } | { journal: JournalNote }): Promise<void>
  /** Its certificate, and a request for the next one. */
  certificateRequest(args: Record<string, never>): Promise<RenewalRequest>
  /** Takes up the next one without a restart. @throws FORBIDDEN when it is not this host's */
  renewCertificate(args: { certPem: string }): Promise<void>

  // The source of a move.
  /** @param args.alongside names of volumes whose containers are told too: they move in one group with this one */
  observe(args: {
    volumeId: VolumeId
    volumeName: string
    alongside?: readonly string[]
    returnOf?: MoveId | null | undefined
  }): Promise<SourceObservation>
  beginSource(args: MoveCommand): Promise<void>
  /**
   * Bytes changed since the snapshot, estimated. Null: that was not known in time, and is not looked for any more. @param args.withinMs default: minutes
   * while the writers run, less than one while they stand
   */
  changedBytes(args: MoveCommand & { snapshot: string; withinMs?: number | undefined }): Promise<number | null>
  /**
   * `final`: its identity is journaled in the record for the unchanged proof. `files`: it will be read file by file, beside the base.
   * @throws TIMED_OUT with `pending` among its details: taken, not whole yet or not ready to be read; to be asked again
   */
  snapshot(
    args: MoveCommand & { name: string; final: boolean; files?: { readonly base: string | null } | undefined },
  ): Promise<SnapshotRecord>
  dropSnapshot(args: MoveCommand & { name: string }): Promise<void>
  send(args: MoveCommand & SendArgs): Promise<void>
  sendImage(
    args: MoveCommand & { imageId: string; imageName: string; targetHostId: HostId; targetAddress: string },
  ): Promise<void>
  /** owner -> sealed. With `onlyIdle` refuses while anything uses it. @throws VOLUME_IN_USE, NESTED_DATASET */
  seal(args: MoveCommand & { onlyIdle: boolean }): Promise<void>
  /** Journals the containers, disarms, then stops or pauses them; with `stop` the file system is unmounted when it returns. */
  quiesce(args: MoveCommand & { mode: 'stop' | 'pause'; group?: GroupPart }): Promise<{ specs: ContainerSpec[] }>
  /** Resets the watchdog of a sealed or released source. */
  keepAlive(args: MoveCommand): Promise<void>
  /**
   * Kill, unmount, unchanged proof, then `released`. `changed`: something was written after S, back to delta. A released source
   * that hears no more from the control role settles the move with the target alone, which is why it is told who that is.
   * `proveOnly`: all but the last, for a group, whose volumes are released when all of them are proven. `quick`: rather `changed` than reading all of
   * the volume while the writers wait.
   */
  release(
    args: MoveCommand & { snapshot: string; targetHostId: HostId; proveOnly?: boolean; quick?: boolean },
  ): Promise<{ changed: boolean }>
  /**
   * sealed or released -> owner at `ownerEpoch`, and the writers run again. A released source needs the stored abort first. `reclaim`: an operator has said
   * that the target, to which the volume itself was handed over, is gone for good.
   */
  undoSource(args: UndoCommand): Promise<void>
  /** released -> replica(n, base), containers that were carried removed, live dataset dropped. */
  retire(args: MoveCommand & { base: string; keepUntil: string; carried: boolean }): Promise<void>

  // The target of a move.
  checkTarget(args: {
    volumeId: VolumeId
    pool: string | null
    specs: readonly ContainerSpec[]
    dropMounts: readonly string[]
  }): Promise<TargetReport>
  beginTarget(
    args: MoveCommand & {
      pool: string
      sizeBytes: number | null
      labels: Readonly<Record<string, string>>
      /** As the volume was made. Absent: none. */
      options?: DatasetOptions
      createdAt: string
    },
  ): Promise<void>
  hasImage(args: { imageId: string }): Promise<boolean>
  /** `streamVersion`: the newest of the pool's stream format that it reads. */
  receive(args: MoveCommand & ReceiveArgs): Promise<Receiving>
  /** Proves what arrived, and what it was received upon (`baseUuid`: its stream identity; null: nothing), then records it. */
  received(
    args: MoveCommand & {
      sessionId: string
      name: string
      streamUuid: string
      baseUuid: string | null
      stream?: StreamKind
    },
  ): Promise<SnapshotRecord>
  prepareContainers(
    args: MoveCommand & { specs: readonly ContainerSpec[]; dropMounts: readonly string[] },
  ): Promise<void>
  /**
   * receiving -> prepared: writable dataset from S, synced to disk before it answers. A later S replaces an earlier one.
   * @throws STALE_EPOCH when this S was given up, or a later one is prepared
   */
  prepare(args: MoveCommand & { snapshot: string }): Promise<void>
  /** prepared -> receiving: more was written on the source after this S. Another S that is prepared stays. */
  reopenTarget(args: MoveCommand & { snapshot: string }): Promise<void>
  /** prepared, with the S that was committed -> owner at n, synced. Only after the store committed. */
  activate(args: MoveCommand & { snapshot: string }): Promise<void>
  /**
   * Containers get their names and policies; those that ran are started. Resolves when the engine says they run. `again`: those of a move
   * within this host, which its source side has stopped.
   */
  startContainers(args: MoveCommand & { again?: boolean }): Promise<{ started: number }>
  /** Null, or why they are not healthy. */
  awaitHealthy(args: MoveCommand & { timeoutMs: number }): Promise<{ problem: string | null }>
  /** Drops the move's own things but the base; `forReturn`: and what must be known of the containers to take them back. */
  finishTarget(args: MoveCommand & { base: string; forReturn: boolean }): Promise<void>
  /**
   * Gives the move up durably, then removes what it made here. Asked by the control role, or by a source that has lost it.
   * @throws TOO_LATE when this host is owner already
   */
  refuseTarget(args: MoveCommand): Promise<void>

  // Both ends.
  /** Runs the operator's program, if this host has one. @throws HOOK_FAILED */
  runHook(args: HookCall): Promise<{ ran: boolean }>
  /** Resolves when the session ended, or after `waitMs` with the progress so far. */
  transferStatus(args: { sessionId: string; waitMs: number; end?: 'source' | 'target' }): Promise<TransferStatus>
  abortTransfer(args: { sessionId: string }): Promise<void>

  // Content proofs: tree-digests.ts has the contract.
  digestSnapshot(args: DigestTask & { waitMs: number }): Promise<DigestStatus>
  digestChunks(args: { verificationId: string; from: number; limit: number }): Promise<ChunkMark[]>
  digestItems(args: DigestTask & { start: Position }): Promise<ItemView[]>
  endDigest(args: { verificationId: string }): Promise<void>
  /** Verifications that are not under way here and whose progress is kept. */
  keptDigests(args: Record<string, never>): Promise<string[]>
  /** Records what a proof found of a snapshot. One that differs is kept, and is no base, until a later proof finds it equal. */
  noteContent(args: { volumeId: VolumeId; snapshot: string; differs: boolean }): Promise<void>
  /** Removes the copy on this host if it is a replica that a proof found to differ. The absent is a success. @throws CONTENT_DIFFERS when it is anything else */
  discardReplica(args: { volumeId: VolumeId }): Promise<void>
}

export interface TableAnswer {
  readonly behind: boolean
  readonly fenced: readonly Fenced[]
}

export interface HookCall extends MoveCommand {
  readonly hook: 'before_quiesce' | 'after_activate'
  /** Names of the hosts. */
  readonly source: string
  readonly target: string
}

export interface TableUpdate {
  readonly storeId: string
  readonly table: CatalogTable
  readonly hosts: readonly Host[]
}

export interface SendArgs {
  readonly sessionId: string
  /** Of the receiver: only the rest is sent. */
  readonly resumeToken?: string
  /** Left out: native. */
  readonly stream?: StreamKind
  readonly snapshot: string
  readonly base: string | null
  readonly targetHostId: HostId
  readonly dataAddress: string
  readonly streamVersion: number
  readonly plain: boolean
  readonly ticket: string
  readonly bwlimitBytes: number | null
  readonly compress: 'none' | 'zstd'
  readonly patienceMs: number
}

export interface Receiving {
  readonly dataAddress: string
  readonly streamVersion: number
  /** It goes on with what an earlier try of the same stream has brought; absent: from the start. */
  readonly resumeToken?: string
}

export interface ReceiveArgs {
  readonly sessionId: string
  /** Stream identity of the snapshot that an earlier try was about: what it brought may stay. Left out: it goes. */
  readonly resumes?: string
  /** Left out: native. */
  readonly stream?: StreamKind
  /** Stream identity of the base that the stream goes upon; null: it is whole. */
  readonly baseUuid: string | null
  readonly sourceHostId: HostId
  readonly plain: boolean
  readonly ticket: string
  readonly patienceMs: number
}

export type AgentMethod = keyof Agent

/** A mapped literal: a method missing here is a compile error, an unknown one is refused on the wire. */
const table: Record<AgentMethod, true> = {
  ping: true,
  pools: true,
  createVolume: true,
  removeVolume: true,
  resizeVolume: true,
  holding: true,
  holdings: true,
  ownedSince: true,
  users: true,
  usage: true,
  setTable: true,
  recall: true,
  examine: true,
  tidy: true,
  certificateRequest: true,
  renewCertificate: true,
  observe: true,
  beginSource: true,
  changedBytes: true,
  snapshot: true,
  dropSnapshot: true,
  send: true,
  sendImage: true,
  seal: true,
  quiesce: true,
  keepAlive: true,
  release: true,
  undoSource: true,
  retire: true,
  checkTarget: true,
  beginTarget: true,
  hasImage: true,
  receive: true,
  received: true,
  prepareContainers: true,
  prepare: true,
  reopenTarget: true,
  activate: true,
  startContainers: true,
  awaitHealthy: true,
  finishTarget: true,
  refuseTarget: true,
  runHook: true,
  transferStatus: true,
  abortTransfer: true,
  digestSnapshot: true,
  digestChunks: true,
  digestItems: true,
  endDigest: true,
  keptDigests: true,
  noteContent: true,
  discardReplica: true,
  ...handoverCalls,
}

export const agentMethods = Object.keys(table) as AgentMethod[]

export const isAgentMethod = (text: string): text is AgentMethod => Object.hasOwn(table, text)
