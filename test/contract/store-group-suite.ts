import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { MoveId } from '../../src/domain/ids.ts'
import type { MoveRecord } from '../../src/domain/move.ts'
import type { Store } from '../../src/state/store.ts'
import { fails, failure, makeMove, mov, type StoreHarness, volumeRow } from './store-suite.ts'

const at = '2026-11-23T12:00:00.000Z'

/** Moves that go as one: everything that ends or begins them is for all of them or none. */
export const storeGroupSuite = (name: string, makeHarness: () => Promise<StoreHarness>): void => {
  describe(`${name} keeps groups together`, () => {
    let harness: StoreHarness
    let store: Store
    beforeEach(async () => {
      harness = await makeHarness()
      store = await harness.open()
    })
    afterEach(() => harness.dispose())

    const lead = mov(1)
    const begin = async (counts: readonly number[] = [1, 2, 3], groupId: MoveId = lead): Promise<MoveRecord[]> => {
      const volumes = []
      for (const count of counts) {
        const row = volumeRow(count)
        volumes.push((await store.volume(row.id)) ?? (await store.insertVolume(row)))
      }
      return store.beginGroup(volumes, (volume, epoch, returnEpoch) => ({
        ...makeMove(Number(volume.name.split('-')[1]), volume)(epoch, returnEpoch),
        groupId,
      }))
    }
    const verify = async (moves: readonly MoveRecord[]) => {
      for (const move of moves) await store.updateMove({ ...move, state: 'verified', phase: 'verify' })
    }
    const states = async () => (await store.moves({ groupId: lead })).map(({ state }) => state)
    const epochs = (moves: readonly MoveRecord[]) => new Map(moves.map(({ id, returnEpoch }) => [id, returnEpoch]))

    test('begin: all of them, found by the group, or none', async () => {
      const moves = await begin()
      expect((await store.moves({ groupId: lead })).map(({ id }) => id).toSorted()).toEqual(moves.map(({ id }) => id))
      expect(await store.moves({ groupId: mov(2) })).toEqual([])
      await store.insertVolume(volumeRow(4))
      await fails(begin([4, 3], mov(4)), 'MOVE_UNDER_WAY')
      expect(await store.volume(volumeRow(4).id)).toMatchObject({ openMoveId: null, reservedEpoch: 1 })
    })

    test('begin: under the id of one of them', async () => {
      await fails(begin([1, 2], mov(9)), 'STORE_CONFLICT')
      expect(await store.moves()).toEqual([])
    })

    test('a journal write does not take a move out of its group', async () => {
      const [move] = await begin()
      if (move === undefined) throw new Error('nothing began')
      const { groupId: _, ...alone } = move
      expect(await store.updateMove({ ...alone, phase: 'precopy' })).toMatchObject({ groupId: lead })
    })

    test('commit: never in part', async () => {
      const moves = await begin()
      await verify(moves)
      await fails(store.commitMove([mov(1), mov(2)]), 'STORE_CONFLICT')
      await fails(store.commitMove([mov(2)]), 'STORE_CONFLICT')
      expect(await states()).toEqual(['verified', 'verified', 'verified'])
      await store.commitMove(moves.map(({ id }) => id))
      expect(await states()).toEqual(['committed', 'committed', 'committed'])
    })

    test('cancel: of one is of all, and keeps all from committing', async () => {
      const moves = await begin()
      await verify(moves)
      await store.requestCancel(mov(2))
      expect((await store.moves()).map(({ cancelRequested }) => cancelRequested)).toEqual([true, true, true])
      await fails(store.commitMove(moves.map(({ id }) => id)), 'MOVE_CANCELLED')
      await store.requestCancel(mov(3))
    })

    test('cancel: too late for all once they have committed', async () => {
      const moves = await begin()
      await verify(moves)
      await store.commitMove(moves.map(({ id }) => id))
      for (const { id } of moves) await fails(store.requestCancel(id), 'TOO_LATE')
    })

    test('abort: never in part, repeatable, too late once they have committed', async () => {
      const moves = await begin()
      await fails(store.abortMove(mov(2), 1, failure, at), 'STORE_CONFLICT')
      await fails(store.abortGroup(lead, new Map([[lead, 1]]), failure, at), 'STORE_CONFLICT')
      expect(await states()).toEqual(['open', 'open', 'open'])
      await store.abortGroup(lead, epochs(moves), failure, at)
      await store.abortGroup(lead, epochs(moves), failure, at)
      expect(await states()).toEqual(['aborted', 'aborted', 'aborted'])
      for (const { openMoveId, epoch } of await store.volumes()) expect([openMoveId, epoch]).toEqual([null, 3])
      const again = await begin([4, 5], mov(4))
      await verify(again)
      await store.commitMove(again.map(({ id }) => id))
      await fails(store.abortGroup(mov(4), epochs(again), failure, at), 'TOO_LATE')
    })

    test('cancel and commit race between two openers: one wins, for all', async () => {
      const other = await harness.open()
      const moves = await begin()
      await verify(moves)
      const ids = moves.map(({ id }) => id)
      const [cancelled, committed] = await Promise.allSettled([other.requestCancel(mov(3)), store.commitMove(ids)])
      expect([cancelled.status, committed.status].toSorted()).toEqual(['fulfilled', 'rejected'])
      expect(new Set((await store.moves()).map(({ state }) => state)).size).toBe(1)
    })
  })
}
