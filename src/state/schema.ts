import type { Database } from 'better-sqlite3'
import { DroverError } from '../domain/errors.ts'

/**
 * Steps from an empty file to today's schema, in order. A step that was released is never edited: the next change is
 * one more step. Rows keep what is compared or searched in columns, the rest of a record as JSON.
 */
const migrations: readonly string[] = [
  `
  CREATE TABLE identity (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    store_id TEXT NOT NULL,
    term INTEGER NOT NULL,
    commit_sequence INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE volumes (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting', 'unknown')),
    owner_host_id TEXT NOT NULL,
    pool TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    reserved_epoch INTEGER NOT NULL CHECK (reserved_epoch >= epoch),
    open_move_id TEXT,
    size_bytes INTEGER,
    labels TEXT NOT NULL,
    options TEXT NOT NULL,
    created_at TEXT NOT NULL,
    version INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX volumes_by_owner ON volumes (owner_host_id);

  CREATE TABLE tombstones (
    volume_id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    deleted_at TEXT NOT NULL
  ) STRICT;

  CREATE TABLE moves (
    ordinal INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    volume_id TEXT NOT NULL,
    source_host_id TEXT NOT NULL,
    target_host_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'verified', 'committed', 'active', 'done', 'aborted')),
    cancel_requested INTEGER NOT NULL,
    owner_epoch INTEGER,
    record TEXT NOT NULL,
    version INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX moves_by_volume ON moves (volume_id);
  CREATE UNIQUE INDEX one_open_move ON moves (volume_id) WHERE state NOT IN ('done', 'aborted');

  CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    record TEXT NOT NULL
  ) STRICT;

  CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    type TEXT NOT NULL,
    data TEXT NOT NULL
  ) STRICT;

  CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    request_digest TEXT NOT NULL,
    status INTEGER NOT NULL,
    location TEXT,
    body TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX answers_by_age ON answers (at_ms);
  `,
]

export const schemaVersion = migrations.length

/** Marks a SQLite file as a Drover state store ("DROV"): another program's database is never written. */
const applicationId = 0x44524f56

/**
 * Brings an open database to today's schema, in one transaction.
 * @throws BAD_CONFIG when it is another program's, or of a newer Drover
 */
export const migrate = (db: Database, path: string): void => {
  const upgrade = db.transaction(() => {
    const tables = Number(db.prepare(`SELECT count(*) FROM sqlite_schema WHERE type = 'table'`).pluck().get())
    if (tables > 0 && db.pragma('application_id', { simple: true }) !== applicationId) {
      throw new DroverError(
        'BAD_CONFIG',
        `${path} is a database of another program, not Drover's; name another data directory`,
      )
    }
    db.pragma(`application_id = ${applicationId}`)
    db.exec('CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT')
    const found = Number(db.prepare('SELECT max(version) FROM schema_version').pluck().get() ?? 0)
    if (found > schemaVersion) {
      throw new DroverError(
        'BAD_CONFIG',
        `${path} has schema version ${found}, this vold knows up to ${schemaVersion}; start the newer vold that wrote it`,
      )
    }
    for (const [index, step] of migrations.entries()) {
      if (index < found) continue
      db.exec(step)
      db.prepare('INSERT INTO schema_version (version) VALUES (?)').run(index + 1)
    }
  })
  upgrade.immediate()
}
