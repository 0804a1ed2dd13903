import type { Database } from 'better-sqlite3'
import type { Epoch } from '../domain/dataset.ts'
import type { HostId, MoveId, VolumeId } from '../domain/ids.ts'
import { atBegin, type MoveRecord } from '../domain/move.ts'

interface Row {
  record: string
  state: MoveRecord['state']
  cancel_requested: number
  owner_epoch: number | null
  version: number
}

/** A move, and the epoch that its outcome gave the owner: null until commit or abort. */
export interface StoredMove {
  readonly move: MoveRecord
  readonly ownerEpoch: Epoch | null
}

/** Columns win over the JSON: they are what transactions compare. */
const fromRow = (row: Row): StoredMove => ({
  move: {
    ...atBegin,
    ...(JSON.parse(row.record) as MoveRecord),
    state: row.state,
    cancelRequested: row.cancel_requested === 1,
    version: row.version,
  },
  ownerEpoch: row.owner_epoch,
})

/** The journal of moves. */
export const moveRows = (db: Database) => {
  const byId = db.prepare<[string], Row>('SELECT * FROM moves WHERE id = ?')
  const filtered = db.prepare<
    [{ volumeId: string | null; groupId: string | null; open: number | null; returnDue: number; limit: number }],
    Row
  >(`
    SELECT * FROM moves
    WHERE (@volumeId IS NULL OR volume_id = @volumeId)
      AND (@groupId IS NULL OR json_extract(record, '$.groupId') = @groupId)
      AND (@returnDue = 0 OR json_extract(record, '$.returnDue'))
      AND (@open IS NULL OR (state NOT IN ('done', 'aborted')) = @open)
    ORDER BY ordinal DESC LIMIT @limit`)
  const inserting = db.prepare<[string, string, string, string, string, number, string, number]>(`
    INSERT INTO moves (id, volume_id, source_host_id, target_host_id, state, cancel_requested, record, version)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
  const replacing = db.prepare<[string, number, number | null, string, number, string]>(
    'UPDATE moves SET state = ?, cancel_requested = ?, owner_epoch = ?, record = ?, version = ? WHERE id = ?',
  )
  const deleting = db.prepare<[string]>('DELETE FROM moves WHERE id = ?')
  const openByHost = db
    .prepare<[string, string], number>(
      `SELECT count(*) FROM moves WHERE state NOT IN ('done', 'aborted') AND (source_host_id = ? OR target_host_id = ?)`,
    )
    .pluck()

  return {
    get: (id: MoveId): StoredMove | null => {
      const row = byId.get(id)
      return row === undefined ? null : fromRow(row)
    },
    list: (filter: {
      volumeId?: VolumeId
      groupId?: MoveId
      open?: boolean
      returnDue?: true
      limit?: number
    }): MoveRecord[] =>
      filtered
        .all({
          volumeId: filter.volumeId ?? null,
          groupId: filter.groupId ?? null,
          open: filter.open === undefined ? null : Number(filter.open),
          returnDue: Number(filter.returnDue ?? false),
          limit: filter.limit ?? -1,
        })
        .map((row) => fromRow(row).move),
    openByHost: (id: HostId): number => openByHost.get(id, id) ?? 0,
    insert: (move: MoveRecord): MoveRecord => {
      const { id, volumeId, sourceHostId, targetHostId, state, cancelRequested, version } = move
      const record = JSON.stringify(move)
      inserting.run(id, volumeId, sourceHostId, targetHostId, state, Number(cancelRequested), record, version)
      return move
    },
    /** Away with it, whatever its state. */
    delete: (id: MoveId): void => void deleting.run(id),
    /** Writes it with its version raised. */
    replace: (move: MoveRecord, ownerEpoch: Epoch | null): MoveRecord => {
      const next: MoveRecord = { ...move, version: move.version + 1 }
      const record = JSON.stringify(next)
      replacing.run(next.state, Number(next.cancelRequested), ownerEpoch, record, next.version, next.id)
      return next
    },
  }
}
