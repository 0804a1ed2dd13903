import type { Database } from 'better-sqlite3'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { HostId } from '../domain/ids.ts'
import { isSqlite } from './database.ts'
import type { IdempotentAnswer, StoredEvent, StoreIdentity } from './store.ts'

/** The one row that says which store this is. */
export const identityRow = (db: Database) => {
  const reading = db.prepare<[], { store_id: string; term: number; commit_sequence: number }>('SELECT * FROM identity')
  const making = db.prepare<[string, number]>('INSERT OR IGNORE INTO identity VALUES (1, ?, ?, 0)')
  const raising = db.prepare<[]>('UPDATE identity SET commit_sequence = commit_sequence + 1')
  const settingTerm = db.prepare<[number]>('UPDATE identity SET term = ?, commit_sequence = commit_sequence + 1')
  const replacing = db.prepare<[string, number]>(
    'UPDATE identity SET store_id = ?, term = ?, commit_sequence = commit_sequence + 1',
  )
  return {
    read: (): StoreIdentity => {
      const row = reading.get()
      if (row === undefined) throw new DroverError('INTERNAL', 'the state store has no identity')
      return { storeId: row.store_id, term: row.term, commitSequence: row.commit_sequence }
    },
    makeOnce: (storeId: string, term: number): void => void making.run(storeId, term),
    raiseCommitSequence: (): void => void raising.run(),
    setTerm: (term: number): void => void settingTerm.run(term),
    /** Two copies of one store, each recovered, are two stores. */
    replace: (storeId: string, term: number): void => void replacing.run(storeId, term),
  }
}

export const hostRows = (db: Database) => {
  const all = db.prepare<[], string>('SELECT record FROM hosts ORDER BY name').pluck()
  const putting = db.prepare<[string, string, string]>(`
    INSERT INTO hosts VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET name = excluded.name, record = excluded.record`)
  const deleting = db.prepare<[string]>('DELETE FROM hosts WHERE id = ?')
  return {
    all: (): Host[] => all.all().map((text) => JSON.parse(text) as Host),
    put: (host: Host): void => {
      try {
        putting.run(host.id, host.name, JSON.stringify(host))
      } catch (error) {
        if (!isSqlite(error, 'SQLITE_CONSTRAINT_UNIQUE')) throw error
        throw new DroverError(
          'HOST_EXISTS',
          `a host named ${host.name} is in the cluster already; choose another name (vold --host-name), or run vol host rm ${host.name} first`,
          { cause: error },
        )
      }
    },
    /** Answers whether there was one. */
    delete: (id: HostId): boolean => deleting.run(id).changes > 0,
  }
}

/** Older events than these newest ones are dropped. */
export const keptEvents = 10_000

export const eventRows = (db: Database) => {
  const inserting = db.prepare<[string, string, string]>('INSERT INTO events (at, type, data) VALUES (?, ?, ?)')
  const pruning = db.prepare<[number]>('DELETE FROM events WHERE sequence <= ?')
  const after = db.prepare<[number, number], { sequence: number; at: string; type: string; data: string }>(
    'SELECT * FROM events WHERE sequence > ? ORDER BY sequence LIMIT ?',
  )
  // SQLite's own counter: it remembers the last number also when all events are gone.
  const last = db.prepare<[], number>(`SELECT seq FROM sqlite_sequence WHERE name = 'events'`).pluck()
  return {
    append: (at: string, type: string, data: StoredEvent['data']): StoredEvent => {
      const sequence = Number(inserting.run(at, type, JSON.stringify(data)).lastInsertRowid)
      pruning.run(sequence - keptEvents)
      return { sequence, at, type, data }
    },
    after: (sequence: number, limit: number): StoredEvent[] =>
      after.all(sequence, limit).map((row) => ({ ...row, data: JSON.parse(row.data) })),
    lastSequence: (): number => last.get() ?? 0,
  }
}

/** An Idempotency-Key means something for this long. */
export const answersKeptMs = 24 * 3_600_000

export const answerRows = (db: Database) => {
  const byKey = db.prepare<
    [string, number],
    { key: string; request_digest: string; status: number; location: string | null; body: string }
  >('SELECT * FROM answers WHERE key = ? AND at_ms > ?')
  const putting = db.prepare<[string, string, number, string | null, string, number]>(
    'INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)',
  )
  const pruning = db.prepare<[number]>('DELETE FROM answers WHERE at_ms <= ?')
  const get = (key: string, nowMs: number): IdempotentAnswer | null => {
    const row = byKey.get(key, nowMs - answersKeptMs)
    if (row === undefined) return null
    const { request_digest: requestDigest, status, location, body } = row
    return { key: row.key, requestDigest, status, location, body }
  }
  return {
    get,
    /** The first answer of a key stays; answers with the one that is kept. */
    put: (answer: IdempotentAnswer, atMs: number): IdempotentAnswer => {
      pruning.run(atMs - answersKeptMs)
      const { key, requestDigest, status, location, body } = answer
      putting.run(key, requestDigest, status, location, body, atMs)
      return get(key, atMs) ?? answer
    },
  }
}
