import type { DatasetOptions } from './dataset-options.ts'
import type { ClusterId, HostId, MoveId, VolumeId } from './ids.ts'

/** Fencing token of a volume: a whole number that only grows. The store's term is its high part: term * 2^32 + count. */
export type Epoch = number

/**
 * What this copy of a volume may be. Only `owner` may be mounted for a writer.
 * Source: owner -> sealed -> released -> replica. Target: receiving -> prepared -> owner. `refused`: the target
 * has durably given the move up. `diverged`: a superseded owner, kept, never overwritten.
 */
export type Role = 'owner' | 'sealed' | 'released' | 'receiving' | 'prepared' | 'refused' | 'replica' | 'diverged'

/** A snapshot as it was when it was made or received here; a base counts only while all of this still holds. */
export interface SnapshotRecord {
  readonly name: string
  /** The pool's own identity of the snapshot on this host (btrfs: subvolume UUID; block: noted with its device). */
  readonly uuid: string
  /** The identity that a stream of it carries, equal on every host (btrfs: received UUID, else UUID). */
  readonly streamUuid: string
  /**
   * Of what came file by file from a pool of another kind: the identity of the snapshot that was sent. Its files are the same, its blocks
   * are not. Absent: `streamUuid`.
   */
  readonly treeUuid?: string
  /** The transaction after which nothing changed in it (btrfs: generation at creation here, last change when received; block: the mark of its seal). */
  readonly generation: number
  /** Not after its making began: what was written before is in it. */
  readonly createdAt: string
  /** `move`: made by a move, ends with it or becomes the base; `user`: belongs to the volume. */
  readonly origin: 'move' | 'user'
  /** A content proof found it unlike the same snapshot elsewhere: kept until that is settled, never a base. */
  readonly differs?: true
  /** What was received upon it, file by file, was not what was sent, whyever: never a base again. */
  readonly unproved?: true
}

/** Equal of snapshots that hold the same files, on pools of whatever kind. */
export const treeIdentity = ({ treeUuid, streamUuid }: SnapshotRecord): string => treeUuid ?? streamUuid

/** A replica that may be the good one: kept until somebody has looked. */
export const isDifferingReplica = ({ role, snapshots }: DatasetRecord): boolean =>
  role === 'replica' && snapshots.some(({ differs }) => differs === true)

/** Kept with the data, on its pool; it binds the data to cluster, host, pool and dataset. The disk is the truth. */
export interface DatasetRecord {
  readonly formatVersion: 1
  readonly clusterId: ClusterId
  readonly hostId: HostId
  readonly pool: string
  readonly volumeId: VolumeId
  readonly name: string
  readonly nameVersion: number
  readonly role: Role
  readonly epoch: Epoch
  /** The highest epoch of this volume that this host has heard of. */
  readonly seen: Epoch
  /** The move this role belongs to; null outside moves. */
  readonly moveId: MoveId | null
  /** The last moves that ended here: a late command of theirs is refused. */
  readonly endedMoves: readonly MoveId[]
  /** Identity of the live dataset (btrfs: subvolume UUID); null while there is none. */
  readonly datasetUuid: string | null
  /** sealed, released, prepared: the final snapshot S; replica: the base. */
  readonly snapshot: string | null
  readonly snapshots: readonly SnapshotRecord[]
  readonly lease: 'none'
  /** Size enforced on disk; null: no limit but the pool's. */
  readonly sizeBytes: number | null
  readonly labels: Readonly<Record<string, string>>
  /** What was chosen when the volume was made; a pool that has no such thing keeps it for the next one. Absent: nothing. */
  readonly options?: DatasetOptions
  readonly createdAt: string
  /** When a replica may be dropped (RFC 3339); null: never by time, or not a replica. */
  readonly keepUntil: string | null
}

/** What the mount guard compares a record with. */
export interface MountContext {
  readonly clusterId: ClusterId
  readonly hostId: HostId
  readonly pool: string
  /** The live dataset that is really there. */
  readonly datasetUuid: string | null
  /** The highest epoch at which anybody is known to own the volume; 0 when nothing was heard. */
  readonly heardOwnerEpoch: Epoch
}

/** The one guard of every mount. Returns null when the record allows a writer here, or the reason why not. */
export const mayMount = (record: DatasetRecord, here: MountContext): string | null => {
  if (record.formatVersion !== 1) return 'its record has a newer format'
  if (record.clusterId !== here.clusterId) return 'it belongs to another cluster'
  if (record.hostId !== here.hostId) return 'its record binds it to another host'
  if (record.pool !== here.pool) return 'its record binds it to another pool'
  if (record.datasetUuid === null || here.datasetUuid === null) return 'its dataset is missing'
  if (record.datasetUuid !== here.datasetUuid) return 'its dataset is not the one its record names'
  if (record.role !== 'owner') return `this copy is ${record.role}, not owner`
  if (here.heardOwnerEpoch > record.epoch) {
    return `it was owned at epoch ${here.heardOwnerEpoch} since, this copy is of epoch ${record.epoch}`
  }
  return null
}
