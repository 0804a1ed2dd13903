import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { SourceSide } from '../../../src/migrate/source-side.ts'
import { TargetSide } from '../../../src/migrate/target-side.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }
const snapshot = `move-${move}-0`
const runtime = { usersOf: async () => [] } as Partial<ContainerRuntime> as ContainerRuntime

const both = async () => {
  const memory = await memoryHost()
  const journal = new MoveJournal('/data', memory.files)
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const firstMount = await FirstMount.open('/data', async () => 0, memory.host.machine)
  const record = { ...recordOf(volume, memory.backend), volumeId: volume, moveId: move, snapshot }
  return {
    ...memory,
    record,
    source: new SourceSide(memory.host, runtime, journal, watchdog),
    target: new TargetSide(memory.host, runtime, journal, firstMount),
  }
}

test('a released source returns by a stored abort only', async () => {
  const { source, backend, record } = await both()
  await backend.writeRecord({ ...record, role: 'released' })
  const undo = source.undoSource({ ...command, ownerEpoch: 1, abortStored: false })
  await expect(undo).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'released' })
  await source.undoSource({ ...command, ownerEpoch: 3, abortStored: true })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', epoch: 3 })
})

test.each(['owner', 'sealed'] as const)(
  'a source put back to before its move, %s by late commands, gives way when the move retires',
  async (role) => {
    const { source, backend, record } = await both()
    const keepUntil = '2026-11-25T00:00:00.000Z'
    await backend.writeRecord({ ...record, role, epoch: 1 })
    await source.retire({ ...command, base: snapshot, keepUntil, carried: true })
    expect(await backend.readRecord(volume)).toMatchObject({ role: 'diverged', moveId: null, endedMoves: [move] })
  },
)

test('a late begin of a move that the record says has ended is refused, though the ledger was lost with the power', async () => {
  const { source, backend, record } = await both()
  await backend.writeRecord({ ...record, role: 'owner', epoch: 1, moveId: null, endedMoves: [move] })
  await expect(source.begin(command)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', moveId: null })
})

test('nor does a replica take a late begin of a move that has ended there', async () => {
  const { target, backend, record } = await both()
  await backend.writeRecord({ ...record, role: 'replica', moveId: null, endedMoves: [move] })
  const late = target.begin({ ...command, pool: backend.spec.text, sizeBytes: null, labels: {}, createdAt: '' })
  await expect(late).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'replica', moveId: null })
})

test.each(['owner', 'sealed', 'released'] as const)(
  'the %s source of a move that is asked to refuse it as its target gives nothing up and removes nothing',
  async (role) => {
    const { target, backend, record } = await both()
    await backend.create(volume, { sizeBytes: null })
    await backend.writeRecord({ ...record, role, epoch: 1 })
    await expect(target.refuse(command)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    expect(await backend.readRecord(volume)).toMatchObject({ role, moveId: move })
    expect(await backend.live(volume)).not.toBeNull()
  },
)

test('a source that owns the volume at a later epoch does not give way', async () => {
  const { source, backend, record } = await both()
  await backend.writeRecord({ ...record, role: 'owner', epoch: 3 })
  const late = source.retire({ ...command, base: snapshot, keepUntil: '2026-11-25T00:00:00.000Z', carried: true })
  await expect(late).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', epoch: 3 })
})

test('a target whose dataset is gone, or another one, does not become owner, and makes none', async () => {
  const { target, backend, record } = await both()
  await backend.writeRecord({ ...record, role: 'prepared', datasetUuid: 'prepared' })
  await expect(target.activate({ ...command, snapshot })).rejects.toMatchObject({ code: 'DATASET_MISSING' })
  expect(await backend.live(volume)).toBeNull()
  await backend.create(volume, { sizeBytes: null })
  await expect(target.activate({ ...command, snapshot })).rejects.toMatchObject({ code: 'DATASET_MISSING' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'prepared' })
})

test('commands of a move that has ended here, or of an older epoch, do nothing', async () => {
  const { source, target, backend, host, record } = await both()
  await backend.writeRecord({ ...record, role: 'owner' })
  await host.epochs.record(volume, 3, move)
  const older = { ...command, moveId: moveId('n'.repeat(26)), epoch: 0, returnEpoch: 1 }
  for (const stale of [command, older]) {
    await expect(source.seal({ ...stale, onlyIdle: false })).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    await expect(target.prepare({ ...stale, snapshot })).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  }
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', moveId: move })
})

test.each(['receiving', 'prepared', 'refused', 'replica'] as const)(
  'an undo makes no owner of a %s copy, whatever its move',
  async (role) => {
    const { source, backend, record } = await both()
    await backend.writeRecord({ ...record, role })
    const undo = source.undoSource({ ...command, ownerEpoch: 3, abortStored: true })
    await expect(undo).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    expect(await backend.readRecord(volume)).toMatchObject({ role })
  },
)
