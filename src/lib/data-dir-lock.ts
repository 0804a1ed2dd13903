import { chmod, open, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { DroverError } from '../domain/errors.ts'
import { ensureDirectory } from './files.ts'

export interface DataDirLock {
  release(): void
}

/** A `vold` that was just killed is given this long to be gone. */
const waitMs = 1_000

/**
 * One `vold` to a data directory. The lock is the kernel's, on an empty file that SQLite holds: it is gone the moment the
 * process is, killed or not, and there is no stale one to remove. Children do not inherit it.
 * @throws ALREADY_RUNNING, with the holder's pid when the kernel tells it
 */
export const lockDataDir = async (dataDir: string): Promise<DataDirLock> => {
  await ensureDirectory(dataDir)
  const path = join(dataDir, 'lock')
  await makeOnce(path)
  const db = new SqliteDatabase(path, { timeout: waitMs })
  try {
    db.pragma('locking_mode = EXCLUSIVE')
    db.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    db.close()
    if (!(error instanceof SqliteDatabase.SqliteError && error.code.startsWith('SQLITE_BUSY'))) throw error
    const pid = await holderOf(path)
    throw new DroverError(
      'ALREADY_RUNNING',
      `another vold${pid === null ? '' : ` (pid ${pid})`} runs on ${dataDir}; stop it, or name another --data-dir`,
      { details: { dataDir, pid }, cause: error },
    )
  }
  return { release: () => void db.close() }
}

/**
 * An existing file is not opened outside SQLite: closing any descriptor of it would let go of a lock that this very process
 * holds.
 */
const makeOnce = async (path: string): Promise<void> => {
  try {
    await (await open(path, 'wx', 0o600)).close()
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error
    await chmod(path, 0o600)
  }
}

/** Who holds a POSIX lock on the file, from /proc/locks; null when it is in another pid namespace or cannot be told. */
const holderOf = async (path: string): Promise<number | null> => {
  const { ino } = await stat(path)
  for (const line of (await readFile('/proc/locks', 'utf8')).split('\n')) {
    const match = /POSIX\s+\S+\s+WRITE\s+(\d+)\s+[0-9a-f]+:[0-9a-f]+:(\d+)/.exec(line)
    if (match?.[2] === String(ino) && Number(match[1]) > 0) return Number(match[1])
  }
  return null
}
