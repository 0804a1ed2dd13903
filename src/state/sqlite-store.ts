import { randomBytes } from 'node:crypto'
import type { Database } from 'better-sqlite3'
import type { Epoch } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { HostId, MoveId, VolumeId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import type { Clock } from '../lib/clock.ts'
import { inTransaction, openDatabase } from './database.ts'
import { maxTerm } from './epochs.ts'
import { moveRows } from './move-rows.ts'
import { moveTransitions } from './move-transitions.ts'
import { answerRows, eventRows, hostRows, identityRow } from './other-rows.ts'
import { writeRecovered } from './recovered.ts'
import type { IdempotentAnswer, Recovered, Store, StoredEvent, StoreIdentity, Tombstone } from './store.ts'
import { volumeRows } from './volume-rows.ts'

export interface SqliteStoreOptions {
  readonly path: string
  readonly clock: Clock
  /** Raises the store's term to this (`vol recover`); a lower one than stored changes nothing. Default of a new store: 0. */
  readonly term?: number
}

/** @throws BAD_CONFIG when the file is damaged, another program's, or of a newer Drover */
export const openSqliteStore = async (options: SqliteStoreOptions): Promise<Store> => {
  const term = options.term ?? 0
  if (!Number.isInteger(term) || term < 0 || term > maxTerm) {
    throw new DroverError('BAD_CONFIG', `term ${term} cannot be used; it is a whole number from 0 to ${maxTerm}`)
  }
  return storeIn(await openDatabase(options.path), options.clock, term)
}

/** The store in a database that has today's schema already. */
export const storeIn = (db: Database, clock: Clock, term: number): Store => {
  const store = new SqliteStore(db, clock)
  store.begin(term)
  return store
}

class SqliteStore implements Store {
  readonly #db: Database
  readonly #clock: Clock
  readonly #identity
  readonly #volumes
  readonly #moves
  readonly #transitions
  readonly #hosts
  readonly #events
  readonly #answers

  constructor(db: Database, clock: Clock) {
    this.#db = db
    this.#clock = clock
    this.#identity = identityRow(db)
    this.#volumes = volumeRows(db)
    this.#moves = moveRows(db)
    this.#transitions = moveTransitions(this.#identity, this.#volumes, this.#moves)
    this.#hosts = hostRows(db)
    this.#events = eventRows(db)
    this.#answers = answerRows(db)
  }

  /** Gives a new store its identity; raises the term of an old one. */
  begin(term: number): void {
    this.#write(() => {
      this.#identity.makeOnce(randomBytes(16).toString('hex'), term)
      if (this.#identity.read().term < term) this.#identity.setTerm(term)
    })
  }

  #write<T>(work: () => T): T {
    return inTransaction(this.#db, work)
  }

  async identity(): Promise<StoreIdentity> {
    return this.#identity.read()
  }

  async insertVolume(row: Volume): Promise<Volume> {
    return this.#write(() => {
      if (this.#volumes.get(row.id) !== null || this.#volumes.isBuried(row.id)) {
        throw new DroverError('STORE_CONFLICT', `volume id ${row.id} was used already; ids are never reused`)
      }
      const reservedEpoch = Math.max(row.reservedEpoch, row.epoch)
      const inserted = this.#volumes.insert({ ...row, reservedEpoch, openMoveId: null, version: 1 })
      this.#identity.raiseCommitSequence()
      return inserted
    })
  }

  async volume(id: VolumeId): Promise<Volume | null> {
    return this.#volumes.get(id)
  }

  async volumeByName(name: string): Promise<Volume | null> {
    return this.#volumes.getByName(name)
  }

  async volumes(): Promise<Volume[]> {
    return this.#volumes.all()
  }

  async updateVolume(next: Volume): Promise<Volume> {
    return this.#write(() => {
      const stored = this.#volumeAt(next.id, next.version)
      const owned = isOwnershipChange(stored, next)
      if (owned && (stored.openMoveId !== null || stored.state === 'ready' || stored.state === 'deleting')) {
        throw new DroverError('STORE_CONFLICT', `the owner of volume ${stored.name} changes only by a move`)
      }
      if (next.openMoveId !== stored.openMoveId || next.reservedEpoch < stored.reservedEpoch) {
        throw new DroverError(
          'STORE_CONFLICT',
          `an update of volume ${stored.name} may not open or close a move, nor give reserved epochs back`,
        )
      }
      if (owned || next.state !== stored.state) this.#identity.raiseCommitSequence()
      return this.#volumes.replace({ ...next, reservedEpoch: Math.max(next.reservedEpoch, next.epoch) })
    })
  }

  async deleteVolume(id: VolumeId, version: number, tombstone: Tombstone): Promise<void> {
    this.#write(() => {
      const stored = this.#volumes.get(id)
      if (stored !== null && stored.openMoveId !== null) {
        throw new DroverError('MOVE_UNDER_WAY', `volume ${stored.name} is being moved; wait or cancel the move first`)
      }
      this.#volumeAt(id, version)
      this.#volumes.delete(id)
      this.#volumes.bury({ ...tombstone, volumeId: id })
      this.#identity.raiseCommitSequence()
    })
  }

  async tombstones(): Promise<Tombstone[]> {
    return this.#volumes.stones()
  }

  async dropTombstone(id: VolumeId): Promise<void> {
    this.#write(() => this.#volumes.dropStone(id))
  }

  async beginMove(volume: Volume, make: (epoch: Epoch, returnEpoch: Epoch) => MoveRecord): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.begin(volume, make))
  }

  async beginGroup(
    volumes: readonly Volume[],
    make: (volume: Volume, epoch: Epoch, returnEpoch: Epoch) => MoveRecord,
  ): Promise<MoveRecord[]> {
    return this.#write(() => this.#transitions.beginGroup(volumes, make))
  }

  async move(id: MoveId): Promise<MoveRecord | null> {
    return this.#moves.get(id)?.move ?? null
  }

  async moves(
    filter: { volumeId?: VolumeId; groupId?: MoveId; open?: boolean; returnDue?: true; limit?: number } = {},
  ): Promise<MoveRecord[]> {
    return this.#moves.list(filter)
  }

  async updateMove(next: MoveRecord): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.update(next))
  }

  async requestCancel(id: MoveId): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.requestCancel(id))
  }

  async commitMove(ids: readonly MoveId[]): Promise<MoveRecord[]> {
    return this.#write(() => this.#transitions.commit(ids))
  }

  async abortMove(id: MoveId, ownerEpoch: Epoch, error: MoveRecord['error'], endedAt: string): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.abort(id, ownerEpoch, error, endedAt))
  }

  async abortGroup(
    groupId: MoveId,
    ownerEpochs: ReadonlyMap<MoveId, Epoch>,
    error: MoveRecord['error'],
    endedAt: string,
  ): Promise<MoveRecord[]> {
    return this.#write(() => this.#transitions.abortGroup(groupId, ownerEpochs, error, endedAt))
  }

  async returnMove(
    id: MoveId,
    error: MoveRecord['error'],
    endedAt: string,
    how: Pick<MoveRecord, 'targetLost'> = {},
  ): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.giveBack(id, error, endedAt, how))
  }

  async activateMove(id: MoveId): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.activate(id))
  }

  async finishMove(id: MoveId, endedAt: string): Promise<MoveRecord> {
    return this.#write(() => this.#transitions.finish(id, endedAt))
  }

  async recover(found: Recovered): Promise<StoreIdentity> {
    return this.#write(() => {
      writeRecovered(found, {
        identity: this.#identity,
        volumes: this.#volumes,
        moves: this.#moves,
        hosts: this.#hosts,
      })
      return this.#identity.read()
    })
  }

  async hosts(): Promise<Host[]> {
    return this.#hosts.all()
  }

  async putHost(host: Host): Promise<void> {
    this.#write(() => this.#hosts.put(host))
  }

  async removeHost(id: HostId): Promise<void> {
    this.#write(() => {
      const volumes = this.#volumes.countByOwner(id)
      const moves = this.#moves.openByHost(id)
      if (volumes > 0 || moves > 0) {
        throw new DroverError(
          'HOST_HAS_VOLUMES',
          `host ${this.#hostName(id)} owns ${volumes} volumes and takes part in ${moves} moves; move or remove them first`,
          { details: { volumes, moves } },
        )
      }
      if (!this.#hosts.delete(id)) throw new DroverError('NO_SUCH_HOST', `no host has the id ${id}; see vol hosts`)
    })
  }

  #hostName(id: HostId): string {
    return this.#hosts.all().find((host) => host.id === id)?.name ?? id
  }

  async appendEvent(at: string, type: string, data: StoredEvent['data']): Promise<StoredEvent> {
    return this.#write(() => this.#events.append(at, type, data))
  }

  async events(after: number, limit: number): Promise<StoredEvent[]> {
    return this.#events.after(after, limit)
  }

  async lastEventSequence(): Promise<number> {
    return this.#events.lastSequence()
  }

  async idempotentAnswer(key: string): Promise<IdempotentAnswer | null> {
    return this.#answers.get(key, this.#clock.now())
  }

  async putIdempotentAnswer(answer: IdempotentAnswer, at: string): Promise<void> {
    this.#write(() => {
      const kept = this.#answers.put(answer, Date.parse(at))
      if (kept.requestDigest === answer.requestDigest) return
      throw new DroverError(
        'IDEMPOTENCY_MISMATCH',
        `Idempotency-Key ${JSON.stringify(answer.key)} was used for another request; take a new key`,
      )
    })
  }

  async close(): Promise<void> {
    this.#db.close()
  }

  #volumeAt(id: VolumeId, version: number): Volume {
    const stored = this.#volumes.get(id)
    if (stored === null) throw new DroverError('NO_SUCH_VOLUME', `no volume has the id ${id}; see vol ls`)
    if (stored.version === version) return stored
    throw new DroverError('STORE_CONFLICT', `volume ${stored.name} was changed by somebody else; read it again`, {
      details: { expected: version, found: stored.version },
    })
  }
}

const isOwnershipChange = (stored: Volume, next: Volume): boolean =>
  stored.ownerHostId !== next.ownerHostId || stored.pool !== next.pool || stored.epoch !== next.epoch
