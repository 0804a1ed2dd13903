import type { Database } from 'better-sqlite3'
import { DroverError } from '../domain/errors.ts'
import { type HostId, hostId, moveId, type VolumeId, volumeId } from '../domain/ids.ts'
import type { Volume } from '../domain/volume.ts'
import { isSqlite } from './database.ts'
import type { Tombstone } from './store.ts'

interface Row {
  id: string
  name: string
  state: Volume['state']
  owner_host_id: string
  pool: string
  epoch: number
  reserved_epoch: number
  open_move_id: string | null
  size_bytes: number | null
  labels: string
  options: string
  created_at: string
  version: number
}

const fromRow = (row: Row): Volume => ({
  id: volumeId(row.id),
  name: row.name,
  state: row.state,
  ownerHostId: hostId(row.owner_host_id),
  pool: row.pool,
  epoch: row.epoch,
  reservedEpoch: row.reserved_epoch,
  openMoveId: row.open_move_id === null ? null : moveId(row.open_move_id),
  sizeBytes: row.size_bytes,
  labels: JSON.parse(row.labels),
  options: JSON.parse(row.options),
  createdAt: row.created_at,
  version: row.version,
})

const toRow = (volume: Volume): Row => ({
  id: volume.id,
  name: volume.name,
  state: volume.state,
  owner_host_id: volume.ownerHostId,
  pool: volume.pool,
  epoch: volume.epoch,
  reserved_epoch: volume.reservedEpoch,
  open_move_id: volume.openMoveId,
  size_bytes: volume.sizeBytes,
  labels: JSON.stringify(volume.labels),
  options: JSON.stringify(volume.options),
  created_at: volume.createdAt,
  version: volume.version,
})

const insert = `
  INSERT INTO volumes VALUES (@id, @name, @state, @owner_host_id, @pool, @epoch, @reserved_epoch, @open_move_id,
    @size_bytes, @labels, @options, @created_at, @version)`

const replace = `
  UPDATE volumes SET name = @name, state = @state, owner_host_id = @owner_host_id, pool = @pool, epoch = @epoch,
    reserved_epoch = @reserved_epoch, open_move_id = @open_move_id, size_bytes = @size_bytes, labels = @labels,
    options = @options, created_at = @created_at, version = @version
  WHERE id = @id`

/** The tables of volumes and of their recorded deletions. */
export const volumeRows = (db: Database) => {
  const byId = db.prepare<[string], Row>('SELECT * FROM volumes WHERE id = ?')
  const byName = db.prepare<[string], Row>('SELECT * FROM volumes WHERE name = ?')
  const all = db.prepare<[], Row>('SELECT * FROM volumes ORDER BY name')
  const inserting = db.prepare<[Row]>(insert)
  const replacing = db.prepare<[Row]>(replace)
  const deleting = db.prepare<[string]>('DELETE FROM volumes WHERE id = ?')
  const countByOwner = db.prepare<[string], number>('SELECT count(*) FROM volumes WHERE owner_host_id = ?').pluck()
  const buried = db.prepare<[string]>('SELECT 1 FROM tombstones WHERE volume_id = ?')
  const bury = db.prepare<[string, string, number, string]>('INSERT INTO tombstones VALUES (?, ?, ?, ?)')
  const dig = db.prepare<[string]>('DELETE FROM tombstones WHERE volume_id = ?')
  const stones = db.prepare<[], { volume_id: string; name: string; epoch: number; deleted_at: string }>(
    'SELECT * FROM tombstones ORDER BY deleted_at, volume_id',
  )

  const write = (statement: typeof inserting, volume: Volume): Volume => {
    try {
      statement.run(toRow(volume))
      return volume
    } catch (error) {
      if (!isSqlite(error, 'SQLITE_CONSTRAINT_UNIQUE')) throw error
      throw new DroverError('VOLUME_EXISTS', `a volume named ${volume.name} exists already; choose another name`, {
        cause: error,
      })
    }
  }

  return {
    get: (id: VolumeId): Volume | null => {
      const row = byId.get(id)
      return row === undefined ? null : fromRow(row)
    },
    getByName: (name: string): Volume | null => {
      const row = byName.get(name)
      return row === undefined ? null : fromRow(row)
    },
    all: (): Volume[] => all.all().map(fromRow),
    countByOwner: (id: HostId): number => countByOwner.get(id) ?? 0,
    insert: (volume: Volume): Volume => write(inserting, volume),
    /** Writes it with its version raised. */
    replace: (volume: Volume): Volume => write(replacing, { ...volume, version: volume.version + 1 }),
    delete: (id: VolumeId): void => void deleting.run(id),
    isBuried: (id: VolumeId): boolean => buried.get(id) !== undefined,
    bury: (stone: Tombstone): void => void bury.run(stone.volumeId, stone.name, stone.epoch, stone.deletedAt),
    dropStone: (id: VolumeId): void => void dig.run(id),
    stones: (): Tombstone[] =>
      stones.all().map((row) => ({
        volumeId: volumeId(row.volume_id),
        name: row.name,
        epoch: row.epoch,
        deletedAt: row.deleted_at,
      })),
  }
}
