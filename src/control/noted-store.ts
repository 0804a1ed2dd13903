import { DroverError } from '../domain/errors.ts'
import type { Store, StoreIdentity } from '../state/store.ts'

/**
 * The store, whose every ownership write is noted outside of it before anybody acts on it. Hosts learn of a write with the next table
 * only; a copy of the store from before the write, put in its place meanwhile, would otherwise be taken for the newest.
 * @param note on disk when it returns; `behind`: a newer store was seen
 */
export const notedStore = (store: Store, note: (identity: StoreIdentity) => Promise<'current' | 'behind'>): Store => {
  const noted =
    <Args extends unknown[], Result>(write: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      const result = await write(...args)
      if ((await note(await store.identity())) === 'current') return result
      throw new DroverError(
        'STORE_BEHIND',
        'the state store is older than what its own host has seen of it; nothing is done upon it, restore the newest copy of the state file',
      )
    }
  return {
    insertVolume: noted((row) => store.insertVolume(row)),
    updateVolume: noted((next) => store.updateVolume(next)),
    deleteVolume: noted((id, version, tombstone) => store.deleteVolume(id, version, tombstone)),
    beginMove: noted((volume, make) => store.beginMove(volume, make)),
    beginGroup: noted((volumes, make) => store.beginGroup(volumes, make)),
    commitMove: noted((ids) => store.commitMove(ids)),
    abortMove: noted((id, ownerEpoch, error, endedAt) => store.abortMove(id, ownerEpoch, error, endedAt)),
    abortGroup: noted((id, epochs, error, endedAt) => store.abortGroup(id, epochs, error, endedAt)),
    returnMove: noted((id, error, endedAt, how) => store.returnMove(id, error, endedAt, how)),
    activateMove: noted((id) => store.activateMove(id)),
    recover: noted((found) => store.recover(found)),
    finishMove: noted((id, endedAt) => store.finishMove(id, endedAt)),

    identity: () => store.identity(),
    volume: (id) => store.volume(id),
    volumeByName: (name) => store.volumeByName(name),
    volumes: () => store.volumes(),
    tombstones: () => store.tombstones(),
    dropTombstone: (id) => store.dropTombstone(id),
    move: (id) => store.move(id),
    moves: (filter) => store.moves(filter),
    updateMove: (next) => store.updateMove(next),
    requestCancel: (id) => store.requestCancel(id),
    hosts: () => store.hosts(),
    putHost: (host) => store.putHost(host),
    removeHost: (id) => store.removeHost(id),
    appendEvent: (at, type, data) => store.appendEvent(at, type, data),
    events: (after, limit) => store.events(after, limit),
    lastEventSequence: () => store.lastEventSequence(),
    idempotentAnswer: (key) => store.idempotentAnswer(key),
    putIdempotentAnswer: (answer, at) => store.putIdempotentAnswer(answer, at),
    close: () => store.close(),
  }
}
