import type { Epoch } from '../domain/dataset.ts'
import type { Host } from '../domain/host.ts'
import type { HostId, MoveId, VolumeId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'

/** What a host remembers of the store it obeys, to recognise an old copy of it. */
export interface StoreIdentity {
  readonly storeId: string
  /** Raised by `vol recover`; the high part of epochs. */
  readonly term: number
  /** Grows by one with every ownership write. */
  readonly commitSequence: number
}

/** A recorded deletion: absence from the store alone makes no orphan. */
export interface Tombstone {
  readonly volumeId: VolumeId
  readonly name: string
  readonly epoch: Epoch
  readonly deletedAt: string
}

/** What the hosts' records say, to be written over what the store says. Rows that are not named stay. */
export interface Recovered {
  /** Null: the store was not lost, only some of its volumes were unknown. Else it gets this term and a new id. */
  readonly term: number | null
  /** Each replaces the row of its id, or is a new one. */
  readonly volumes: readonly Volume[]
  /** Each replaces the row of its id, or is a new one. `ownerEpoch`: what its outcome gave the owner; null: it has none yet. */
  readonly moves: readonly { readonly move: MoveRecord; readonly ownerEpoch: Epoch | null }[]
  /** Rows without a trace on any host; no tombstone is made of them: should a host bring such a volume back, it is taken in. */
  readonly forgetVolumes: readonly VolumeId[]
  /** Moves of which nobody can tell how they end. */
  readonly forgetMoves: readonly MoveId[]
  readonly hosts: readonly Host[]
  readonly forgetHosts: readonly HostId[]
}

/** An answer kept for an Idempotency-Key. */
export interface IdempotentAnswer {
  readonly key: string
  /** Digest of method, path and body. */
  readonly requestDigest: string
  readonly status: number
  readonly location: string | null
  readonly body: string
}

export interface StoredEvent {
  /** Grows by one; SSE's Last-Event-ID. */
  readonly sequence: number
  readonly at: string
  readonly type: string
  readonly data: Readonly<Record<string, unknown>>
}

/**
 * The cluster's state. Every write is a compare-and-swap on `version` and durable when the call returns.
 * Every store passes the same suite (test/contract/store-suite.ts). Calls are synchronous in meaning: one after the
 * other, all or nothing.
 * @throws STORE_CONFLICT when a version does not match; the codes each method names.
 */
export interface Store {
  identity(): Promise<StoreIdentity>

  /** @throws VOLUME_EXISTS: of two creators of one name exactly one wins. `row.version` is ignored; the stored row has version 1. */
  insertVolume(row: Volume): Promise<Volume>
  volume(id: VolumeId): Promise<Volume | null>
  volumeByName(name: string): Promise<Volume | null>
  volumes(): Promise<Volume[]>
  /**
   * Writes `next` if the stored row still has `next.version`; answers the row with the version raised by one. Owner, pool
   * and epoch change here only while the row is `creating` or `unknown`; a ready volume's change by moves.
   * @throws NO_SUCH_VOLUME, VOLUME_EXISTS when renamed to a name that is taken
   */
  updateVolume(next: Volume): Promise<Volume>
  /** Removes the row and records the tombstone in one transaction. @throws MOVE_UNDER_WAY while a move is open, NO_SUCH_VOLUME */
  deleteVolume(id: VolumeId, version: number, tombstone: Tombstone): Promise<void>
  tombstones(): Promise<Tombstone[]>
  dropTombstone(id: VolumeId): Promise<void>

  /**
   * idle -> open(M, n, n+1), in one transaction: reserves the two epochs above `volume.reservedEpoch` and opens the move.
   * `make` gets the two numbers. @throws MOVE_UNDER_WAY, NO_SUCH_VOLUME, VOLUME_UNKNOWN, STORE_CONFLICT when `volume.version` is
   * stale or the volume is not ready
   */
  beginMove(volume: Volume, make: (epoch: Epoch, returnEpoch: Epoch) => MoveRecord): Promise<MoveRecord>
  /**
   * The same for several volumes, all of them or none. `make` gets each volume and its two numbers; all rows have one `groupId`, which is
   * the id of one of them.
   */
  beginGroup(
    volumes: readonly Volume[],
    make: (volume: Volume, epoch: Epoch, returnEpoch: Epoch) => MoveRecord,
  ): Promise<MoveRecord[]>
  move(id: MoveId): Promise<MoveRecord | null>
  /** Newest first. */
  moves(filter?: {
    volumeId?: VolumeId
    groupId?: MoveId
    open?: boolean
    returnDue?: true
    limit?: number
  }): Promise<MoveRecord[]>
  /** Journal write; may not change `state` to committed or aborted. @throws STORE_CONFLICT, NO_SUCH_MOVE */
  updateMove(next: MoveRecord): Promise<MoveRecord>
  /**
   * Cancel against commit, on one row, or on all rows of its group at once: sets `cancelRequested`. Repeating it is a success, also when it has been obeyed.
   * @throws TOO_LATE when the move has committed or ended, NO_SUCH_MOVE
   */
  requestCancel(id: MoveId): Promise<MoveRecord>
  /**
   * verified -> committed for all of them or none, in one transaction: owner, pool and epoch of the volume rows change with it.
   * @throws MOVE_CANCELLED when one has `cancelRequested`, STORE_CONFLICT when one is not verified or its volume row moved on,
   * or when a group would commit in part
   */
  commitMove(ids: readonly MoveId[]): Promise<MoveRecord[]>
  /**
   * open or verified -> aborted; the volume's owner stays the source, its epoch becomes `ownerEpoch`
   * (e when only sealed, n + 1 when it had released). Repeating it with the same epoch is a success.
   * @throws TOO_LATE when committed, STORE_CONFLICT for one of a group: that is aborted as a whole
   */
  abortMove(id: MoveId, ownerEpoch: Epoch, error: MoveRecord['error'], endedAt: string): Promise<MoveRecord>
  /** The same for all moves of a group, each with its epoch, all of them or none. */
  abortGroup(
    groupId: MoveId,
    ownerEpochs: ReadonlyMap<MoveId, Epoch>,
    error: MoveRecord['error'],
    endedAt: string,
  ): Promise<MoveRecord[]>
  /**
   * committed -> aborted: the target, before it ever wrote `owner`, has durably refused. The source owns again at the
   * move's `returnEpoch`, no data shipped. Repeating it is a success.
   * @param how.targetLost it did not refuse: an operator has said that it is lost for good
   * @throws TOO_LATE when the move is active or done, STORE_CONFLICT when it has not committed (abortMove is for those)
   */
  returnMove(
    id: MoveId,
    error: MoveRecord['error'],
    endedAt: string,
    how?: Pick<MoveRecord, 'targetLost'>,
  ): Promise<MoveRecord>
  /** committed -> active. Repeating it is a success. */
  activateMove(id: MoveId): Promise<MoveRecord>
  /** active -> done, closes the move on the volume row. Repeating it is a success. */
  finishMove(id: MoveId, endedAt: string): Promise<MoveRecord>

  /**
   * Writes what `vol recover` found, in one transaction. The one way to change owners without a move.
   * @throws STORE_CONFLICT when a volume that is not being recovered has the name of one that is, or the term is not higher
   */
  recover(found: Recovered): Promise<StoreIdentity>

  hosts(): Promise<Host[]>
  /** Inserts or replaces by id. @throws HOST_EXISTS when another host has the name */
  putHost(host: Host): Promise<void>
  /** @throws NO_SUCH_HOST, HOST_HAS_VOLUMES */
  removeHost(id: HostId): Promise<void>

  appendEvent(at: string, type: string, data: StoredEvent['data']): Promise<StoredEvent>
  /** Events after the sequence, oldest first, at most `limit`. Old ones are pruned beyond 10,000. */
  events(after: number, limit: number): Promise<StoredEvent[]>
  lastEventSequence(): Promise<number>

  idempotentAnswer(key: string): Promise<IdempotentAnswer | null>
  /** Kept for 24 hours; the first answer of a key stays. @throws IDEMPOTENCY_MISMATCH when the key's digest is another */
  putIdempotentAnswer(answer: IdempotentAnswer, at: string): Promise<void>

  close(): Promise<void>
}
