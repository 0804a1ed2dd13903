import { expect, test } from 'vitest'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { DroverError, type ErrorCode } from '../../../src/domain/errors.ts'
import { hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveRecord } from '../../../src/domain/move.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent, MoveCommand } from '../../../src/migrate/agent.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { steps } from '../../../src/migrate/steps.ts'
import { TargetSide } from '../../../src/migrate/target-side.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }
const snapshot = `move-${move}-0`

const failing = (code: ErrorCode) => async () => {
  throw new DroverError(code, 'no')
}

/** A committed move whose target answers `activate` and `refuseTarget` in this way. */
const committed = (target: Partial<Agent>, lost?: { source: Partial<DatasetRecord> | null }) => {
  const returned: string[] = []
  const store = {
    returnMove: async (id: string, error: { code: string }) => {
      returned.push(error.code)
      return { id, state: 'aborted' } as unknown as MoveRecord
    },
  }
  const nothing = { reconcileSoon: () => {}, publish: () => {}, mayWrite: async () => {} }
  const parts = { store, clock: systemClock, logger: silentLogger, ...nothing }
  const row = { id: move, state: 'committed', finalSnapshot: snapshot }
  const source = { holding: async () => (lost?.source == null ? null : { record: lost.source }) }
  const hosts = { source, sourceHost: { name: 'host1' }, target, targetHost: { name: 'host2' } }
  const targetIsLost = () => lost !== undefined
  const context = { parts, ...hosts, command, move: row, refusals: 0, targetIsLost } as unknown as MoveContext
  return { returned, activate: () => steps.activate(context) }
}

test.each<ErrorCode>(['DATASET_MISSING', 'DATASET_FOREIGN', 'STALE_EPOCH', 'COMMAND_FAILED', 'INTERNAL'])(
  'a target that answers %s does not get the volume: it goes back',
  async (code) => {
    const { activate, returned } = committed({ activate: failing(code), refuseTarget: async () => {} })
    expect(await activate()).toBeNull()
    expect(returned).toEqual([code])
  },
)

test('what may pass by itself is tried a few times, then the volume goes back', async () => {
  const { activate, returned } = committed({ activate: failing('VOLUME_BUSY'), refuseTarget: async () => {} })
  for (let index = 0; index < 4; index += 1) await expect(activate()).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(await activate()).toBeNull()
  expect(returned).toEqual(['VOLUME_BUSY'])
})

test('silence decides nothing', async () => {
  const { activate, returned } = committed({ activate: failing('HOST_UNREACHABLE') })
  for (let index = 0; index < 20; index += 1)
    await expect(activate()).rejects.toMatchObject({ code: 'HOST_UNREACHABLE' })
  expect(returned).toEqual([])
})

const whole: Partial<DatasetRecord> = { role: 'released', moveId: move, snapshot }

test('the silence of a target that an operator calls lost for good gives the volume back to a source that has all of it', async () => {
  const { activate, returned } = committed({ activate: failing('HOST_UNREACHABLE') }, { source: whole })
  expect(await activate()).toBeNull()
  expect(returned).toEqual(['HOST_UNREACHABLE'])
})

test.each<[string, Partial<DatasetRecord> | null]>([
  ['nothing', null],
  ['an owner', { ...whole, role: 'owner' }],
  ['a copy that another move released', { ...whole, moveId: moveId('n'.repeat(26)) }],
  ['a copy at another S', { ...whole, snapshot: `move-${move}-1` }],
])('a lost target gives nothing back to a source that holds %s', async (_what, source) => {
  const { activate, returned } = committed({ activate: failing('HOST_UNREACHABLE') }, { source })
  await expect(activate()).rejects.toMatchObject({ code: 'DIVERGED' })
  expect(returned).toEqual([])
})

test('a target that was called lost and answers is asked as any other', async () => {
  const { activate, returned } = committed({ activate: failing('VOLUME_BUSY') }, { source: whole })
  await expect(activate()).rejects.toMatchObject({ code: 'VOLUME_BUSY' })
  expect(returned).toEqual([])
})

test('nothing goes back while the target has not refused, or owns it after all', async () => {
  for (const code of ['HOST_UNREACHABLE', 'TOO_LATE'] as const) {
    const holding = async () => ({ record: { role: 'owner', moveId: move } }) as never
    const { activate, returned } = committed({ activate: failing('INTERNAL'), refuseTarget: failing(code), holding })
    await expect(activate()).rejects.toMatchObject({ code })
    expect(returned).toEqual([])
  }
})

test('a refusal that is on disk counts, however long removing what was made there takes', async () => {
  const refuseTarget = failing('DOCKER_UNREACHABLE')
  const holding = async () => ({ record: { role: 'refused', moveId: move } }) as never
  const { activate, returned } = committed({ activate: failing('STALE_EPOCH'), refuseTarget, holding })
  expect(await activate()).toBeNull()
  expect(returned).toEqual(['STALE_EPOCH'])
})

const target = async () => {
  const memory = await memoryHost()
  const journal = new MoveJournal('/data', memory.files)
  const firstMount = await FirstMount.open('/data', async () => 0, memory.host.machine)
  return { ...memory, side: new TargetSide(memory.host, { madeByMoves: async () => [] } as never, journal, firstMount) }
}

test('a copy that is bound elsewhere is refused by word, and left alone', async () => {
  const { side, backend, host } = await target()
  const foreign = { ...recordOf(volume, backend), volumeId: volume, moveId: move, hostId: hostId('x'.repeat(26)) }
  await backend.writeRecord({ ...foreign, role: 'prepared' })
  await side.refuse(command)
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'prepared', moveId: move })
  expect(host.epochs.hasEnded(volume, move)).toBe(true)
})

test('no refusal is given of a move whose target has owned the volume since, and let it go again', async () => {
  const { side, host } = await target()
  await host.epochs.record(volume, 3, move)
  await host.epochs.record(volume, 5, moveId('n'.repeat(26)))
  await expect(side.refuse(command)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
})
