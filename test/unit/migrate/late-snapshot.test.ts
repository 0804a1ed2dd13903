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
const [first, second] = [`move-${move}-9`, `move-${move}-10`]
const runtime = { usersOf: async () => [], madeByMoves: async () => [] } as Partial<ContainerRuntime>

/** A target that has received both final snapshots: the source found after the first that more had been written. */
const target = async () => {
  const memory = await memoryHost()
  const { backend, host } = memory
  const journal = new MoveJournal('/data', memory.files)
  const firstMount = await FirstMount.open('/data', async () => 0, host.machine)
  await backend.create(volume, { sizeBytes: null })
  const snapshots = [
    await backend.snapshots.create(volume, first, 'move'),
    await backend.snapshots.create(volume, second, 'move'),
  ]
  await backend.destroyLive(volume)
  const record = { ...recordOf(volume, backend), volumeId: volume, moveId: move, datasetUuid: null, snapshots }
  await backend.writeRecord({ ...record, role: 'receiving', snapshot: null })
  const side = new TargetSide(host, runtime as ContainerRuntime, journal, firstMount)
  return { ...memory, side }
}
const of = (snapshot: string) => ({ ...command, snapshot })
const stale = { code: 'STALE_EPOCH' }

test('a late prepare does not bring back the snapshot that was given up', async () => {
  const { side, backend } = await target()
  await side.prepare(of(first))
  await side.reopen(of(first))
  await expect(side.prepare(of(first))).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'receiving' })
  await side.prepare(of(second))
  await expect(side.prepare(of(first))).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'prepared', snapshot: second })
})

test('a late reopen does not give up the snapshot that was prepared since', async () => {
  const { side, backend } = await target()
  await side.prepare(of(first))
  await side.reopen(of(first))
  await side.reopen(of(first))
  await side.prepare(of(second))
  await expect(side.reopen(of(first))).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'prepared', snapshot: second })
})

test('only the snapshot that was committed is taken', async () => {
  const { side, backend } = await target()
  await side.prepare(of(first))
  await expect(side.activate(of(second))).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'prepared' })
  await side.activate(of(first))
  await side.activate(of(first))
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner', epoch: 2 })
})

test('a late final snapshot does not take the place of a later one on the source', async () => {
  const { host, backend, files } = await memoryHost()
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const journal = new MoveJournal('/data', files)
  const source = new SourceSide(host, runtime as ContainerRuntime, journal, watchdog)
  await backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume, moveId: move, role: 'sealed' })
  await backend.create(volume, { sizeBytes: null })
  await source.snapshot({ ...command, name: first, final: true })
  await source.snapshot({ ...command, name: second, final: true })
  await expect(source.snapshot({ ...command, name: first, final: true })).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toMatchObject({ snapshot: second })
})
