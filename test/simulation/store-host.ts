import SqliteDatabase, { type Database } from 'better-sqlite3'
import type { Clock } from '../../src/lib/clock.ts'
import { migrate } from '../../src/state/schema.ts'
import { storeIn } from '../../src/state/sqlite-store.ts'
import type { Store } from '../../src/state/store.ts'
import type { SimProcess } from './process.ts'

const emptyStore = (): Buffer => {
  const db = new SqliteDatabase(':memory:')
  migrate(db, ':memory:')
  const bytes = db.serialize()
  db.close()
  return bytes
}
let template: Buffer | null = null

const reads = new Set([
  'identity',
  'volume',
  'volumeByName',
  'volumes',
  'tombstones',
  'move',
  'moves',
  'hosts',
  'events',
  'lastEventSequence',
  'idempotentAnswer',
])

/** The control host's state file: what a transaction has written is there whoever dies. */
export class StoreHost {
  #db: Database
  #old: Buffer[] = []
  /** The newest copy, while an old one is in its place. */
  #newest: Database | null = null
  #inspected: Store | null = null

  constructor() {
    template ??= emptyStore()
    this.#db = new SqliteDatabase(template)
  }

  /** The store as a new process opens it. */
  open(process: SimProcess, clock: Clock): Store {
    const store = storeIn(this.#db, clock, 0)
    return new Proxy(store, {
      get:
        (target, method: keyof Store & string) =>
        (...args: unknown[]) => {
          const call = () => (target[method] as (...args: unknown[]) => Promise<unknown>).apply(target, args)
          return reads.has(method) ? readAlive(process, call) : process.ask(`store.${method}`, call)
        },
    })
  }

  /** The file as it is; nobody's process. */
  inspect(clock: Clock): Store {
    this.#inspected ??= storeIn(this.#db, clock, 0)
    return this.#inspected
  }

  backUp(): void {
    this.#old.push(this.#db.serialize())
  }

  get hasOldCopy(): boolean {
    return this.#newest !== null
  }

  /** Only while no process has it open. @returns whether there was one */
  restoreOld(pick: (copies: readonly Buffer[]) => Buffer): boolean {
    if (this.#old.length === 0 || this.#newest !== null) return false
    this.#newest = this.#db
    this.#inspected = null
    this.#db = new SqliteDatabase(pick(this.#old))
    return true
  }

  restoreNewest(): void {
    if (this.#newest === null) return
    this.#db.close()
    this.#inspected = null
    this.#db = this.#newest
    this.#newest = null
  }

  /** The old copy has become the truth: nobody had seen a newer one. */
  keepOld(): void {
    this.#newest?.close()
    this.#newest = null
    this.#old = []
  }

  close(): void {
    this.#newest?.close()
    this.#db.close()
  }
}

const readAlive = async <T>(process: SimProcess, call: () => Promise<T>): Promise<T> =>
  process.alive ? call() : new Promise<never>(() => {})
