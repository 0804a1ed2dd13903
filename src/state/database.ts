import { chmod, open } from 'node:fs/promises'
import { dirname } from 'node:path'
import SqliteDatabase, { type Database } from 'better-sqlite3'
import { DroverError } from '../domain/errors.ts'
import { ensureDirectory, syncDirectory } from '../lib/files.ts'
import { migrate } from './schema.ts'

/** Another opener's transaction is waited for this long. */
const busyTimeoutMs = 5_000

/**
 * Opens or makes the file, mode 0600, so that a commit is on disk when it returns.
 * @throws BAD_CONFIG: damaged, not a database, another program's, of a newer Drover
 */
export const openDatabase = async (path: string): Promise<Database> => {
  await ensureDirectory(dirname(path))
  // Made before SQLite sees it: its own files (WAL, shared memory) take the mode of this one.
  await (await open(path, 'a', 0o600)).close()
  await chmod(path, 0o600)
  await syncDirectory(dirname(path))
  let db: Database | undefined
  try {
    db = new SqliteDatabase(path, { timeout: busyTimeoutMs })
    db.pragma('journal_mode = WAL')
    db.pragma('synchronous = FULL')
    db.pragma('foreign_keys = ON')
    const check = db.pragma('quick_check(1)', { simple: true })
    if (check !== 'ok') throw damaged(path, String(check))
    migrate(db, path)
    return db
  } catch (error) {
    db?.close()
    if (isSqlite(error, 'SQLITE_NOTADB', 'SQLITE_CORRUPT')) throw damaged(path, error.message, error)
    throw error
  }
}

const damaged = (path: string, what: string, cause?: unknown) =>
  new DroverError(
    'BAD_CONFIG',
    `the state file ${path} is damaged (${what}); move it away, start vold and run vol recover`,
    { cause },
  )

/** One immediate transaction: all of `work` or nothing, on disk when it returns. */
export const inTransaction = <T>(db: Database, work: () => T): T => {
  try {
    return db.transaction(work).immediate()
  } catch (error) {
    throw asStoreError(error)
  }
}

const asStoreError = (error: unknown): unknown => {
  if (isSqlite(error, 'SQLITE_BUSY')) {
    return new DroverError('STORE_CONFLICT', 'the state store is being written by another process; try again', {
      cause: error,
    })
  }
  if (isSqlite(error, 'SQLITE_FULL')) {
    return new DroverError('NO_SPACE', 'no space for the state store; make room under the data directory', {
      cause: error,
    })
  }
  return error
}

/** Matches primary codes and their extended ones (SQLITE_CORRUPT_INDEX is a SQLITE_CORRUPT). */
export const isSqlite = (error: unknown, ...codes: readonly string[]): error is Error =>
  error instanceof SqliteDatabase.SqliteError && codes.some((code) => error.code.startsWith(code))
