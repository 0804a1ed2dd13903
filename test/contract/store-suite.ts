import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hasCode } from '../../src/domain/errors.ts'
import type { Host } from '../../src/domain/host.ts'
import { hostId, type MoveId, moveId, type VolumeId, volumeId } from '../../src/domain/ids.ts'
import { atBegin, type MoveRecord } from '../../src/domain/move.ts'
import type { Volume } from '../../src/domain/volume.ts'
import type { IdempotentAnswer, Store } from '../../src/state/store.ts'

/** One place that holds a store's state, which may be opened more than once. */
export interface StoreHarness {
  /** A further opener of the same state. */
  open(): Promise<Store>
  /** Moves the store's clock forward. */
  advance(ms: number): void
  /** Closes every opener and removes the state. */
  dispose(): Promise<void>
}

const id26 = (letter: string, count: number) => `${letter}${String(count).padStart(25, '0')}`
const vol = (count: number): VolumeId => volumeId(id26('v', count))
export const mov = (count: number): MoveId => moveId(id26('m', count))
const host1 = hostId(id26('h', 1))
const host2 = hostId(id26('h', 2))
const at = '2026-11-23T12:00:00.000Z'

export const volumeRow = (count: number, changes: Partial<Volume> = {}): Volume => ({
  id: vol(count),
  name: `volume-${count}`,
  state: 'ready',
  ownerHostId: host1,
  pool: 'btrfs:/one',
  epoch: 1,
  reservedEpoch: 1,
  openMoveId: null,
  sizeBytes: null,
  labels: { team: 'a' },
  options: { size: '1G' },
  createdAt: at,
  version: 1,
  ...changes,
})

export const makeMove =
  (count: number, volume: Volume) =>
  (epoch: number, returnEpoch: number): MoveRecord => ({
    ...atBegin,
    id: mov(count),
    volumeId: volume.id,
    volumeName: volume.name,
    sourceHostId: volume.ownerHostId,
    targetHostId: volume.ownerHostId === host1 ? host2 : host1,
    sourcePool: volume.pool,
    targetPool: 'btrfs:/two',
    epoch,
    returnEpoch,
    request: {
      to: 'host2',
      quiesce: 'stop',
      containers: 'move',
      dropMounts: [],
      healthTimeoutMs: 60_000,
      onlyIdle: false,
    },
    forecast: null,
    startedAt: at,
  })

const hostRow = (id: Host['id'], name: string): Host => ({
  id,
  name,
  address: '10.0.0.1:7460',
  dataAddress: '10.0.0.1:7461',
  pools: ['btrfs:/one'],
  control: false,
  fingerprint: 'ab'.repeat(32),
  joinedAt: at,
})

export const failure = { code: 'MOVE_FAILED', message: 'it broke' } as const
export const fails = (work: Promise<unknown>, code: Parameters<typeof hasCode>[1]) =>
  expect(work).rejects.toSatisfy((error) => hasCode(error, code), `rejects with ${code}`)

/** What every store does, whatever it keeps its state in. */
export const storeSuite = (name: string, makeHarness: () => Promise<StoreHarness>): void => {
  describe(`${name} is a store`, () => {
    let harness: StoreHarness
    let store: Store
    beforeEach(async () => {
      harness = await makeHarness()
      store = await harness.open()
    })
    afterEach(() => harness.dispose())

    const sequence = async () => (await store.identity()).commitSequence
    const current = async (count: number): Promise<Volume> => {
      const volume = await store.volume(vol(count))
      if (volume === null) throw new Error(`volume ${count} is not there`)
      return volume
    }
    const begin = async (count = 1, move = count): Promise<MoveRecord> => {
      const volume = (await store.volume(vol(count))) ?? (await store.insertVolume(volumeRow(count)))
      return store.beginMove(volume, makeMove(move, volume))
    }
    const verify = (move: MoveRecord) => store.updateMove({ ...move, state: 'verified', phase: 'verify' })

    describe('identity', () => {
      test('stays the same for every opener and after a reopen', async () => {
        const second = await harness.open()
        expect((await second.identity()).storeId).toBe((await store.identity()).storeId)
        expect((await store.identity()).storeId).toMatch(/^[0-9a-f]{32}$/)
      })

      test('two stores have two identities', async () => {
        const other = await makeHarness()
        try {
          const stranger = await other.open()
          expect((await stranger.identity()).storeId).not.toBe((await store.identity()).storeId)
        } finally {
          await other.dispose()
        }
      })

      test('the commit sequence grows by one with every ownership write, and by no other', async () => {
        const counts: number[] = [await sequence()]
        const count = async () => void counts.push(await sequence())
        await store.insertVolume(volumeRow(1))
        await count()
        const move = await begin(1)
        await count()
        await verify(move)
        await store.appendEvent(at, 'x', {})
        await store.putHost(hostRow(host1, 'host1'))
        await store.updateVolume({ ...(await current(1)), sizeBytes: 5 })
        await store.commitMove([move.id])
        await count()
        await store.activateMove(move.id)
        await count()
        await store.finishMove(move.id, at)
        await count()
        const back = await begin(1, 2)
        await count()
        await store.abortMove(back.id, (await current(1)).epoch, null, at)
        await count()
        const volume = await current(1)
        await store.deleteVolume(volume.id, volume.version, tombstone(volume))
        await count()
        expect(counts).toEqual(counts.map((_, index) => (counts[0] ?? 0) + index))
      })
    })

    const tombstone = (volume: Volume) => ({
      volumeId: volume.id,
      name: volume.name,
      epoch: volume.epoch,
      deletedAt: at,
    })

    describe('volumes', () => {
      test('come back as they were written, with version 1', async () => {
        const row = volumeRow(1, { sizeBytes: 10 * 2 ** 40, labels: { 'ä "b"': 'c\n' }, version: 77 })
        const inserted = await store.insertVolume(row)
        expect(inserted).toEqual({ ...row, version: 1 })
        expect(await store.volume(row.id)).toEqual(inserted)
        expect(await store.volumeByName(row.name)).toEqual(inserted)
        expect(await store.volumes()).toEqual([inserted])
      })

      test('that do not exist are null', async () => {
        expect(await store.volume(vol(9))).toBeNull()
        expect(await store.volumeByName('nothing')).toBeNull()
        expect(await store.volumes()).toEqual([])
      })

      test('names tell capital from small letters', async () => {
        await store.insertVolume(volumeRow(1, { name: 'db' }))
        await store.insertVolume(volumeRow(2, { name: 'DB' }))
        expect(await store.volumes()).toHaveLength(2)
      })

      test('of two creators of one name exactly one wins, also between openers', async () => {
        const second = await harness.open()
        const results = await Promise.allSettled([
          store.insertVolume(volumeRow(1, { name: 'db' })),
          second.insertVolume(volumeRow(2, { name: 'db' })),
          store.insertVolume(volumeRow(3, { name: 'db' })),
        ])
        expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
        for (const result of results) {
          if (result.status === 'rejected') expect(hasCode(result.reason, 'VOLUME_EXISTS')).toBe(true)
        }
        expect(await second.volumes()).toHaveLength(1)
      })

      test('an id is used once', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        await fails(store.insertVolume(volumeRow(1, { name: 'other' })), 'STORE_CONFLICT')
        await store.deleteVolume(volume.id, volume.version, tombstone(volume))
        await fails(store.insertVolume(volumeRow(1, { name: 'other' })), 'STORE_CONFLICT')
      })

      test('an update raises the version and a stale one is refused', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        const second = await harness.open()
        const updated = await second.updateVolume({ ...volume, sizeBytes: 7, labels: {} })
        expect(updated).toEqual({ ...volume, sizeBytes: 7, labels: {}, version: 2 })
        await fails(store.updateVolume({ ...volume, sizeBytes: 8 }), 'STORE_CONFLICT')
        expect(await store.volume(volume.id)).toEqual(updated)
        await fails(store.updateVolume(volumeRow(5)), 'NO_SUCH_VOLUME')
      })

      test('an update cannot take a name that is taken', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        await store.insertVolume(volumeRow(2))
        await fails(store.updateVolume({ ...volume, name: 'volume-2' }), 'VOLUME_EXISTS')
      })

      test('an update cannot change the owner of a ready volume, can settle an unknown one', async () => {
        const ready = await store.insertVolume(volumeRow(1))
        await fails(store.updateVolume({ ...ready, ownerHostId: host2 }), 'STORE_CONFLICT')
        await fails(store.updateVolume({ ...ready, epoch: 5 }), 'STORE_CONFLICT')
        await fails(store.updateVolume({ ...ready, openMoveId: mov(1) }), 'STORE_CONFLICT')
        await fails(store.updateVolume({ ...ready, reservedEpoch: 0 }), 'STORE_CONFLICT')
        expect(await current(1)).toEqual(ready)
        const unknown = await store.insertVolume(volumeRow(2, { state: 'unknown' }))
        const settled = await store.updateVolume({ ...unknown, state: 'ready', ownerHostId: host2, epoch: 9 })
        expect(settled).toMatchObject({ ownerHostId: host2, epoch: 9, reservedEpoch: 9, version: 2 })
      })

      test('a deletion leaves a tombstone, and the name is free', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        await fails(store.deleteVolume(volume.id, 99, tombstone(volume)), 'STORE_CONFLICT')
        expect(await store.tombstones()).toEqual([])
        await store.deleteVolume(volume.id, volume.version, tombstone(volume))
        expect(await store.volume(volume.id)).toBeNull()
        expect(await store.tombstones()).toEqual([tombstone(volume)])
        await store.insertVolume(volumeRow(2, { name: volume.name }))
        await fails(store.deleteVolume(volume.id, volume.version, tombstone(volume)), 'NO_SUCH_VOLUME')
        await store.dropTombstone(volume.id)
        await store.dropTombstone(volume.id)
        expect(await store.tombstones()).toEqual([])
      })

      test('are not deleted while they move', async () => {
        await begin(1)
        const volume = await current(1)
        await fails(store.deleteVolume(volume.id, volume.version, tombstone(volume)), 'MOVE_UNDER_WAY')
        expect(await current(1)).toEqual(volume)
        expect(await store.tombstones()).toEqual([])
      })
    })

    describe('begin', () => {
      test('reserves two epochs and opens the move', async () => {
        const move = await begin(1)
        expect(move).toMatchObject({ epoch: 2, returnEpoch: 3, state: 'open', version: 1 })
        expect(await current(1)).toMatchObject({ epoch: 1, reservedEpoch: 3, openMoveId: move.id, version: 2 })
        expect(await store.move(move.id)).toEqual(move)
      })

      test('a second move is refused, to the one with a stale row too', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        await store.beginMove(volume, makeMove(1, volume))
        await fails(store.beginMove(volume, makeMove(2, volume)), 'MOVE_UNDER_WAY')
        await fails(store.beginMove(await current(1), makeMove(2, volume)), 'MOVE_UNDER_WAY')
        expect(await store.moves()).toHaveLength(1)
      })

      test('of two openers exactly one begins', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        const second = await harness.open()
        const results = await Promise.allSettled([
          second.beginMove(volume, makeMove(1, volume)),
          store.beginMove(volume, makeMove(2, volume)),
        ])
        expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
        expect(await store.moves({ open: true })).toHaveLength(1)
      })

      test('a stale row, a volume that is not there or not ready is refused', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        await store.updateVolume({ ...volume, sizeBytes: 1 })
        await fails(store.beginMove(volume, makeMove(1, volume)), 'STORE_CONFLICT')
        await fails(store.beginMove(volumeRow(7), makeMove(1, volumeRow(7))), 'NO_SUCH_VOLUME')
        const unknown = await store.insertVolume(volumeRow(2, { state: 'unknown' }))
        await fails(store.beginMove(unknown, makeMove(1, unknown)), 'VOLUME_UNKNOWN')
        const deleting = await store.insertVolume(volumeRow(3, { state: 'deleting' }))
        await fails(store.beginMove(deleting, makeMove(1, deleting)), 'STORE_CONFLICT')
      })

      test('what throws while the record is made leaves nothing', async () => {
        const volume = await store.insertVolume(volumeRow(1))
        const before = await sequence()
        await expect(
          store.beginMove(volume, () => {
            throw new Error('no')
          }),
        ).rejects.toThrow('no')
        expect(await current(1)).toEqual(volume)
        expect(await sequence()).toBe(before)
      })

      test('reserved numbers are never used again', async () => {
        const used: number[] = []
        for (const count of [1, 2, 3]) {
          const move = await begin(1, count)
          used.push(move.epoch, move.returnEpoch)
          await store.abortMove(move.id, count === 2 ? move.returnEpoch : (await current(1)).epoch, failure, at)
        }
        expect(used).toEqual([2, 3, 4, 5, 6, 7])
        expect(await current(1)).toMatchObject({ epoch: 5, reservedEpoch: 7, ownerHostId: host1 })
      })
    })

    describe('the journal', () => {
      test('keeps what is written, and refuses the stale', async () => {
        const move = await begin(1)
        const round = { snapshot: 's1', base: null, bytes: 5, ms: 6 }
        const next = await store.updateMove({ ...move, phase: 'precopy', rounds: [round] })
        expect(next).toEqual({ ...move, phase: 'precopy', rounds: [round], version: 2 })
        expect(await store.move(move.id)).toEqual(next)
        await fails(store.updateMove({ ...move, phase: 'delta' }), 'STORE_CONFLICT')
        await fails(store.updateMove({ ...move, id: mov(9) }), 'NO_SUCH_MOVE')
      })

      test('moves between open and verified, and to no other state', async () => {
        let move = await verify(await begin(1))
        move = await store.updateMove({ ...move, state: 'open', phase: 'delta' })
        expect(move.state).toBe('open')
        for (const state of ['committed', 'active', 'done', 'aborted'] as const) {
          await fails(store.updateMove({ ...move, state }), 'STORE_CONFLICT')
        }
        expect(await store.move(move.id)).toEqual(move)
      })

      test('does not change what was agreed, nor take a cancel back', async () => {
        const move = await store.requestCancel((await begin(1)).id)
        const next = await store.updateMove({ ...move, epoch: 99, targetHostId: host1, cancelRequested: false })
        expect(next).toEqual({ ...move, version: move.version + 1 })
      })

      test('lists newest first, by volume, open or ended, limited', async () => {
        await begin(1, 1)
        await begin(2, 2)
        await store.abortMove(mov(1), 1, null, at)
        await begin(1, 3)
        const ids = async (filter: Parameters<Store['moves']>[0]) => (await store.moves(filter)).map((move) => move.id)
        expect(await ids(undefined)).toEqual([mov(3), mov(2), mov(1)])
        expect(await ids({ open: true })).toEqual([mov(3), mov(2)])
        expect(await ids({ open: false })).toEqual([mov(1)])
        expect(await ids({ volumeId: vol(1) })).toEqual([mov(3), mov(1)])
        expect(await ids({ limit: 1 })).toEqual([mov(3)])
        expect(await store.move(mov(8))).toBeNull()
      })
    })

    describe('commit', () => {
      test('changes owner, pool and epoch with the move', async () => {
        const move = await verify(await begin(1))
        const [committed] = await store.commitMove([move.id])
        expect(committed).toEqual({ ...move, state: 'committed', version: move.version + 1 })
        expect(await current(1)).toMatchObject({
          ownerHostId: host2,
          pool: 'btrfs:/two',
          epoch: 2,
          reservedEpoch: 3,
          openMoveId: move.id,
        })
      })

      test('is of a verified move only, and once', async () => {
        const move = await begin(1)
        await fails(store.commitMove([move.id]), 'STORE_CONFLICT')
        expect(await current(1)).toMatchObject({ ownerHostId: host1, epoch: 1 })
        await verify(move)
        await store.commitMove([move.id])
        await fails(store.commitMove([move.id]), 'STORE_CONFLICT')
        await fails(store.commitMove([mov(9)]), 'NO_SUCH_MOVE')
      })

      test('of several is all or nothing', async () => {
        const first = await verify(await begin(1))
        const second = await begin(2)
        const before = await sequence()
        await fails(store.commitMove([first.id, second.id]), 'STORE_CONFLICT')
        expect(await store.move(first.id)).toEqual(first)
        expect(await current(1)).toMatchObject({ ownerHostId: host1, epoch: 1 })
        expect(await sequence()).toBe(before)
        await verify(second)
        const both = await store.commitMove([first.id, second.id])
        expect(both.map((move) => move.state)).toEqual(['committed', 'committed'])
        expect((await store.volumes()).map((volume) => volume.ownerHostId)).toEqual([host2, host2])
        expect(await sequence()).toBe(before + 1)
      })

      test('loses against a cancel that came first', async () => {
        const move = await verify(await begin(1))
        const cancelled = await store.requestCancel(move.id)
        expect(cancelled).toMatchObject({ cancelRequested: true, state: 'verified' })
        await fails(store.commitMove([move.id]), 'MOVE_CANCELLED')
        expect(await current(1)).toMatchObject({ ownerHostId: host1, epoch: 1 })
      })

      test('wins against a cancel that comes later', async () => {
        const move = await verify(await begin(1))
        await store.commitMove([move.id])
        await fails(store.requestCancel(move.id), 'TOO_LATE')
        expect(await store.move(move.id)).toMatchObject({ state: 'committed', cancelRequested: false })
      })

      test('and cancel race between two openers: exactly one wins', async () => {
        const second = await harness.open()
        for (const count of [1, 2, 3, 4]) {
          const move = await verify(await begin(count))
          const commit = () => store.commitMove([move.id])
          const cancel = () => second.requestCancel(move.id)
          const both = count % 2 === 0 ? [commit(), cancel()] : [cancel(), commit()]
          const results = await Promise.allSettled(both)
          expect(results.map((result) => result.status).sort()).toEqual(['fulfilled', 'rejected'])
          const after = await store.move(move.id)
          expect(after?.state === 'committed').toBe(after?.cancelRequested === false)
        }
      })
    })

    describe('cancel', () => {
      test('repeated is a success, also once obeyed; of an ended or absent move it is refused', async () => {
        const move = await begin(1)
        const first = await store.requestCancel(move.id)
        expect(await store.requestCancel(move.id)).toEqual(first)
        const aborted = await store.abortMove(move.id, 1, failure, at)
        expect(await store.requestCancel(move.id)).toEqual(aborted)
        const other = await begin(2)
        await store.abortMove(other.id, 1, failure, at)
        await fails(store.requestCancel(other.id), 'TOO_LATE')
        await fails(store.requestCancel(mov(9)), 'NO_SUCH_MOVE')
      })

      test('makes a journal write from before it stale', async () => {
        const move = await begin(1)
        await store.requestCancel(move.id)
        await fails(verify(move), 'STORE_CONFLICT')
      })
    })

    describe('abort', () => {
      test('leaves the owner at its epoch, closes the move, can be repeated', async () => {
        const move = await begin(1)
        const aborted = await store.abortMove(move.id, 1, failure, at)
        expect(aborted).toMatchObject({ state: 'aborted', error: failure, endedAt: at })
        expect(await current(1)).toMatchObject({ ownerHostId: host1, epoch: 1, reservedEpoch: 3, openMoveId: null })
        expect(await store.abortMove(move.id, 1, failure, at)).toEqual(aborted)
        await fails(store.abortMove(move.id, move.returnEpoch, failure, at), 'STORE_CONFLICT')
      })

      test('after release brings the owner back at n + 1', async () => {
        const move = await verify(await begin(1))
        await store.abortMove(move.id, move.returnEpoch, failure, at)
        expect(await current(1)).toMatchObject({ ownerHostId: host1, pool: 'btrfs:/one', epoch: 3, openMoveId: null })
        expect(await begin(1, 2)).toMatchObject({ epoch: 4, returnEpoch: 5 })
      })

      test('takes no other epoch, and no committed move', async () => {
        const move = await verify(await begin(1))
        await fails(store.abortMove(move.id, move.epoch, failure, at), 'STORE_CONFLICT')
        await store.commitMove([move.id])
        await fails(store.abortMove(move.id, move.returnEpoch, failure, at), 'TOO_LATE')
        await fails(store.abortMove(mov(9), 1, failure, at), 'NO_SUCH_MOVE')
      })
    })

    describe('after commit', () => {
      test('active, then done, each repeatable, and the volume moves again', async () => {
        const move = await verify(await begin(1))
        await fails(store.activateMove(move.id), 'STORE_CONFLICT')
        await store.commitMove([move.id])
        await fails(store.finishMove(move.id, at), 'STORE_CONFLICT')
        const active = await store.activateMove(move.id)
        expect(active.state).toBe('active')
        expect(await store.activateMove(move.id)).toEqual(active)
        const done = await store.finishMove(move.id, at)
        expect(done).toMatchObject({ state: 'done', endedAt: at })
        expect(await store.finishMove(move.id, at)).toEqual(done)
        expect(await current(1)).toMatchObject({ ownerHostId: host2, epoch: 2, openMoveId: null })
        expect(await begin(1, 2)).toMatchObject({ epoch: 4, returnEpoch: 5, sourceHostId: host2, targetHostId: host1 })
      })

      test('a target that durably refused gives it back at n + 1, unless it is active', async () => {
        const move = await verify(await begin(1))
        await fails(store.returnMove(move.id, failure, at), 'STORE_CONFLICT')
        await store.commitMove([move.id])
        const returned = await store.returnMove(move.id, failure, at)
        expect(returned).toMatchObject({ state: 'aborted', error: failure, endedAt: at })
        expect(await store.returnMove(move.id, failure, at)).toEqual(returned)
        expect(await current(1)).toMatchObject({
          ownerHostId: host1,
          pool: 'btrfs:/one',
          epoch: 3,
          openMoveId: null,
        })
        const again = await verify(await begin(1, 2))
        await store.commitMove([again.id])
        await store.activateMove(again.id)
        await fails(store.returnMove(again.id, failure, at), 'TOO_LATE')
      })

      test('or one that an operator says is lost for good, which is remembered', async () => {
        const move = await verify(await begin(1))
        await store.commitMove([move.id])
        const returned = await store.returnMove(move.id, failure, at, { targetLost: true })
        expect(returned).toMatchObject({ state: 'aborted', targetLost: true })
        expect(await store.move(move.id)).toEqual(returned)
      })
    })

    describe('hosts', () => {
      test('are put, replaced by id, refused by name, removed', async () => {
        await store.putHost(hostRow(host2, 'b'))
        await store.putHost(hostRow(host1, 'a'))
        expect(await store.hosts()).toEqual([hostRow(host1, 'a'), hostRow(host2, 'b')])
        await store.putHost({ ...hostRow(host1, 'a'), address: '10.9.9.9:1' })
        expect((await store.hosts())[0]?.address).toBe('10.9.9.9:1')
        await fails(store.putHost(hostRow(hostId(id26('h', 3)), 'a')), 'HOST_EXISTS')
        await fails(store.putHost(hostRow(host2, 'a')), 'HOST_EXISTS')
        await store.removeHost(host2)
        await fails(store.removeHost(host2), 'NO_SUCH_HOST')
        expect(await store.hosts()).toHaveLength(1)
      })

      test('stay while they own a volume or take part in a move', async () => {
        await store.putHost(hostRow(host1, 'a'))
        await store.putHost(hostRow(host2, 'b'))
        const move = await begin(1)
        await fails(store.removeHost(host1), 'HOST_HAS_VOLUMES')
        await fails(store.removeHost(host2), 'HOST_HAS_VOLUMES')
        await store.abortMove(move.id, 1, null, at)
        await store.removeHost(host2)
        expect((await store.hosts()).map((host) => host.name)).toEqual(['a'])
      })
    })

    describe('events', () => {
      test('are numbered without gaps, read after a number, limited', async () => {
        expect(await store.lastEventSequence()).toBe(0)
        for (const count of [1, 2, 3]) {
          expect(await store.appendEvent(at, 'move', { count })).toEqual({
            sequence: count,
            at,
            type: 'move',
            data: { count },
          })
        }
        expect(await store.lastEventSequence()).toBe(3)
        expect((await store.events(1, 100)).map((event) => event.sequence)).toEqual([2, 3])
        expect(await store.events(0, 1)).toEqual([{ sequence: 1, at, type: 'move', data: { count: 1 } }])
        expect(await store.events(3, 10)).toEqual([])
      })

      test('beyond 10,000 the old ones go, the numbers go on', async () => {
        for (let count = 1; count <= 10_050; count += 1) await store.appendEvent(at, 'x', {})
        const all = await store.events(0, 20_000)
        expect(all).toHaveLength(10_000)
        expect(all[0]?.sequence).toBe(51)
        expect(await store.lastEventSequence()).toBe(10_050)
      }, 60_000)
    })

    describe('idempotent answers', () => {
      const answer: IdempotentAnswer = {
        key: 'k1',
        requestDigest: 'd1',
        status: 202,
        location: '/v1/moves/1',
        body: '{"a":1}',
      }

      test('the first answer of a key stays; another request under it is refused', async () => {
        expect(await store.idempotentAnswer('k1')).toBeNull()
        await store.putIdempotentAnswer(answer, at)
        await store.putIdempotentAnswer({ ...answer, status: 500 }, at)
        expect(await store.idempotentAnswer('k1')).toEqual(answer)
        await fails(store.putIdempotentAnswer({ ...answer, requestDigest: 'd2' }, at), 'IDEMPOTENCY_MISMATCH')
      })

      test('are gone after 24 hours', async () => {
        await store.putIdempotentAnswer({ ...answer, location: null }, at)
        harness.advance(24 * 3_600_000 - 1000)
        expect(await store.idempotentAnswer('k1')).toMatchObject({ location: null })
        harness.advance(2000)
        expect(await store.idempotentAnswer('k1')).toBeNull()
        const later = new Date(Date.parse(at) + 24 * 3_600_000 + 1000).toISOString()
        await store.putIdempotentAnswer({ ...answer, requestDigest: 'd2' }, later)
        expect(await store.idempotentAnswer('k1')).toMatchObject({ requestDigest: 'd2' })
      })
    })

    test('everything is there after close and reopen', async () => {
      const move = await verify(await begin(1))
      await store.commitMove([move.id])
      const gone = await store.insertVolume(volumeRow(2))
      await store.deleteVolume(gone.id, gone.version, tombstone(gone))
      await store.putHost(hostRow(host1, 'a'))
      await store.appendEvent(at, 'x', { y: [1] })
      const read = async (from: Store) => ({
        identity: await from.identity(),
        volumes: await from.volumes(),
        moves: await from.moves(),
        tombstones: await from.tombstones(),
        hosts: await from.hosts(),
        events: await from.events(0, 10),
      })
      const before = await read(store)
      await store.close()
      expect(await read(await harness.open())).toEqual(before)
    })
  })
}
