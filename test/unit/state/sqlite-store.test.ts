import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hasCode } from '../../../src/domain/errors.ts'
import type { Clock } from '../../../src/lib/clock.ts'
import { firstEpoch, nextEpoch, termOf } from '../../../src/state/epochs.ts'
import { schemaVersion } from '../../../src/state/schema.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import type { Store } from '../../../src/state/store.ts'
import { storeGroupSuite } from '../../contract/store-group-suite.ts'
import { type StoreHarness, storeSuite, volumeRow } from '../../contract/store-suite.ts'

const start = Date.parse('2026-11-23T12:00:00.000Z')
const fixedClock = (now: () => number): Clock => ({ now, monotonic: now, sleep: async () => {} })
const clock = fixedClock(() => start)

const makeHarness = async (): Promise<StoreHarness> => {
  const directory = await mkdtemp(join(tmpdir(), 'drover-store-'))
  const opened: Store[] = []
  let now = start
  return {
    async open() {
      const store = await openSqliteStore({ path: join(directory, 'state.db'), clock: fixedClock(() => now) })
      opened.push(store)
      return store
    },
    advance(ms) {
      now += ms
    },
    async dispose() {
      for (const store of opened) await store.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

storeSuite('SQLite', makeHarness)
storeGroupSuite('SQLite', makeHarness)

describe('the SQLite file', () => {
  let directory: string
  let path: string
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'drover-store-'))
    path = join(directory, 'deeper', 'state.db')
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))

  const openAndClose = async (term?: number) => {
    const store = await openSqliteStore({ path, clock, ...(term === undefined ? {} : { term }) })
    const identity = await store.identity()
    await store.close()
    return identity
  }
  const tamper = (sql: string) => {
    const db = new SqliteDatabase(path)
    db.exec(sql)
    db.close()
  }
  const refused = (message: RegExp) =>
    expect(openSqliteStore({ path, clock })).rejects.toSatisfy(
      (error) => hasCode(error, 'BAD_CONFIG') && message.test(error.message),
    )

  test('is readable by its owner only, its WAL too', async () => {
    const store = await openSqliteStore({ path, clock })
    try {
      await store.insertVolume(volumeRow(1))
      for (const suffix of ['', '-wal', '-shm']) expect((await stat(path + suffix)).mode & 0o777).toBe(0o600)
    } finally {
      await store.close()
    }
  })

  test('of a newer schema is refused and left as it is', async () => {
    await openAndClose()
    tamper(`INSERT INTO schema_version VALUES (${schemaVersion + 1})`)
    await refused(new RegExp(`schema version ${schemaVersion + 1}`))
    await refused(/newer vold/)
  })

  test('of another program is refused and left as it is', async () => {
    await openAndClose()
    await rm(path)
    tamper('CREATE TABLE theirs (x)')
    await refused(/another program/)
    const db = new SqliteDatabase(path)
    expect(db.prepare('SELECT name FROM sqlite_schema').pluck().all()).toEqual(['theirs'])
    db.close()
  })

  test('that is damaged is refused in one line', async () => {
    await openAndClose()
    await writeFile(path, 'x'.repeat(8192))
    await refused(/damaged.*vol recover/)
  })

  test('keeps its identity; recover raises the term, and nothing lowers it', async () => {
    const first = await openAndClose()
    expect(first).toMatchObject({ term: 0, commitSequence: 0 })
    expect(await openAndClose()).toEqual(first)
    expect(await openAndClose(3)).toEqual({ ...first, term: 3, commitSequence: 1 })
    expect(await openAndClose(1)).toEqual({ ...first, term: 3, commitSequence: 1 })
    await expect(openAndClose(-1)).rejects.toSatisfy((error) => hasCode(error, 'BAD_CONFIG'))
  })

  test('epochs of a later term outrank all earlier ones', async () => {
    await openAndClose(2)
    const store = await openSqliteStore({ path, clock })
    try {
      const volume = await store.insertVolume(volumeRow(1, { epoch: 7, reservedEpoch: 9 }))
      const epochs: number[] = []
      await store
        .beginMove(volume, (...reserved) => {
          epochs.push(...reserved)
          throw new Error('enough')
        })
        .catch(() => {})
      expect(epochs).toEqual([2 * 2 ** 32 + 1, 2 * 2 ** 32 + 2])
    } finally {
      await store.close()
    }
  })

  test('openers that race to make it agree on one identity', async () => {
    const stores = await Promise.all([1, 2, 3].map(() => openSqliteStore({ path, clock })))
    const ids = await Promise.all(stores.map(async (store) => (await store.identity()).storeId))
    for (const store of stores) await store.close()
    expect(new Set(ids).size).toBe(1)
  })
})

test('epochs: term * 2^32 + count', () => {
  expect(firstEpoch(0)).toBe(1)
  expect(firstEpoch(1)).toBe(2 ** 32 + 1)
  expect(nextEpoch(0, 7)).toBe(8)
  expect(nextEpoch(1, 2 ** 32 + 5)).toBe(2 ** 32 + 6)
  expect(termOf(nextEpoch(5, 3))).toBe(5)
})
