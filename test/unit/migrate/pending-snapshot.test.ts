import { afterEach, expect, test } from 'vitest'
import type { SnapshotFacet } from '../../../src/backends/backend.ts'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { ProgressBoard } from '../../../src/migrate/progress.ts'
import { SourceSide } from '../../../src/migrate/source-side.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { whilePending } from '../../../src/migrate/while-pending.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }
const order = { ...command, name: `move-${move}-0`, final: true }

let watchdog: Watchdog
afterEach(() => watchdog?.close())

/** A sealed source whose storage takes its time for snapshots. */
const sealedSource = async (take: NonNullable<SnapshotFacet['take']>) => {
  const { host, backend, files } = await memoryHost()
  Object.assign(backend.snapshots, { take })
  watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const runtime = { usersOf: async () => [] } as Partial<ContainerRuntime> as ContainerRuntime
  const source = new SourceSide(host, runtime, new MoveJournal('/data', files), watchdog)
  await backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume, moveId: move })
  await backend.create(volume, { sizeBytes: null })
  await source.seal({ ...command, onlyIdle: false })
  await source.quiesce({ ...command, mode: 'stop' })
  return { source, backend, host }
}

test('neither an undo nor the lock of the volume waits for a snapshot that its storage has not ended', async () => {
  const waiting = Promise.withResolvers<void>()
  const { source, backend, host } = await sealedSource(async (_, __, signal) => ({
    isWhole: () => {
      waiting.resolve()
      return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    },
  }))
  const refused = expect(source.snapshot(order)).rejects.toMatchObject({ code: 'STALE_EPOCH' })
  await waiting.promise
  await host.locks.run(volume, async () => {})
  await source.undoSource({ ...command, ownerEpoch: 1, abortStored: false })
  await refused
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', moveId: null, snapshots: [] })
  expect(await backend.snapshots.list(volume)).toEqual([])
})

test('asked again it goes on with what was taken, and makes nothing of it once the move was undone', async () => {
  const answers = [false, true]
  const { source, backend } = await sealedSource(async () => ({ isWhole: async () => answers.shift() ?? true }))
  await expect(source.snapshot(order)).rejects.toMatchObject({ code: 'TIMED_OUT', details: { pending: true } })
  expect(await backend.snapshots.list(volume)).toEqual([])
  expect(await source.snapshot(order)).toMatchObject({ name: order.name })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'sealed', snapshot: order.name })
})

test('the mover waits for it, says so, and gives up when the writers have been stopped for too long', async () => {
  let now = 0
  const progress = new ProgressBoard()
  const pending = new DroverError('TIMED_OUT', 'not ended yet', { details: { pending: true } })
  const said: (string | null)[] = []
  const clock = {
    monotonic: () => now,
    sleep: async () => {
      said.push(progress.waitsFor(move))
      now += 60_000
    },
  }
  const context = {
    ...{ move: { id: move }, signal: new AbortController().signal, parts: { progress, clock } },
  } as unknown as MoveContext
  const slow = (times: number) => () => (times-- > 0 ? Promise.reject(pending) : Promise.resolve('taken'))
  expect(await whilePending(context, false, slow(30))).toBe('taken')
  expect(said).toEqual(Array.from({ length: 30 }, () => 'not ended yet'))
  expect(progress.waitsFor(move)).toBeNull()
  await expect(whilePending(context, true, slow(30))).rejects.toBe(pending)
  const broken = new DroverError('TIMED_OUT', 'EC2 does not answer')
  await expect(whilePending(context, false, () => Promise.reject(broken))).rejects.toBe(broken)
})

test('what changed is not looked for any longer than somebody waits for it', async () => {
  const { source, backend } = await sealedSource(async () => null)
  const snapshot = await backend.snapshots.create(volume, 's', 'user')
  const record = await backend.readRecord(volume)
  if (record === null) throw new Error('no record')
  await backend.writeRecord({ ...record, snapshots: [snapshot] })
  const asked: { writers?: string; signal?: AbortSignal }[] = []
  const changedBytes: SnapshotFacet['changedBytes'] = (_, __, options = {}) => {
    asked.push(options)
    return new Promise(() => {})
  }
  Object.assign(backend.snapshots, { changedBytes })
  expect(await source.changedBytes({ ...command, snapshot: 's', withinMs: 1 })).toBeNull()
  expect(asked).toMatchObject([{ writers: 'standing', signal: { aborted: true } }])
})
