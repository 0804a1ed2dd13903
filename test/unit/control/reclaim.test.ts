import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Reconciler } from '../../../src/control/reconciler.ts'
import type { Host } from '../../../src/domain/host.ts'
import { moveId } from '../../../src/domain/ids.ts'
import type { MoveRecord } from '../../../src/domain/move.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent, UndoCommand } from '../../../src/migrate/agent.ts'
import { handoverName } from '../../../src/migrate/move-snapshots.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { makeMove, volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const id = moveId('m'.repeat(26))
const error = { code: 'HOST_UNREACHABLE', message: '' } as const

/** What its source hears of the end of a move that had committed. */
const undoneAfter = async (finalSnapshot: string, how: Pick<MoveRecord, 'targetLost'>): Promise<UndoCommand[]> => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  const volume = await store.insertVolume(volumeRow(1))
  const host: Host = {
    ...{ id: volume.ownerHostId, name: 'host1', address: '', dataAddress: '', pools: [] },
    ...{ control: true, fingerprint: '', joinedAt: '' },
  }
  await store.putHost(host)
  const move = await store.beginMove(volume, (...epochs) => ({ ...makeMove(1, volume)(...epochs), id }))
  await store.updateMove({ ...move, state: 'verified', finalSnapshot })
  await store.commitMove([id])
  await store.returnMove(id, error, '', how)
  const heard: UndoCommand[] = []
  const record = { volumeId: volume.id, name: volume.name, role: 'released', epoch: 1, moveId: id, hostId: host.id }
  const agent = {
    holdings: async () => [{ ...record, pool: move.sourcePool, endedMoves: [] }],
    undoSource: async (command: UndoCommand) => void heard.push(command),
    keptDigests: async () => [],
  } as unknown as Agent
  await new Reconciler({ store, agent: () => agent, logger: silentLogger, clock: systemClock }).run()
  return heard
}

test('a volume that was handed over is reclaimed from a target that an operator says is lost, and from no other', async () => {
  const handedOver = handoverName({ moveId: id }, 0)
  expect(await undoneAfter(handedOver, { targetLost: true })).toMatchObject([{ abortStored: true, reclaim: true }])
  for (const heard of [await undoneAfter(handedOver, {}), await undoneAfter('move-s-0', { targetLost: true })]) {
    expect(heard).toMatchObject([{ abortStored: true }])
    expect(heard[0]).not.toHaveProperty('reclaim')
  }
})
