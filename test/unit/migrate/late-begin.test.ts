import { expect, test } from 'vitest'
import type { ContainerRuntime, ContainerSpec } from '../../../src/containers/runtime.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { SourceSide } from '../../../src/migrate/source-side.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { EpochLedger } from '../../../src/volumes/epoch-ledger.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const [first, second] = [moveId('m'.repeat(26)), moveId('n'.repeat(26))]
const command = (move: typeof first, epoch: number): MoveCommand => ({
  ...{ volumeId: volume, volumeName: 'db', moveId: move, epoch, returnEpoch: epoch + 1 },
})
const abort = { ownerEpoch: 1, abortStored: true }
const stale = { code: 'STALE_EPOCH' }

const source = async (runtime: Partial<ContainerRuntime> = {}) => {
  const memory = await memoryHost()
  const { host, backend, files } = memory
  const journal = new MoveJournal('/data', files)
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const side = new SourceSide(host, runtime as ContainerRuntime, journal, watchdog)
  await backend.create(volume, { sizeBytes: null })
  await backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume })
  return { ...memory, side, journal }
}

test('a begin that arrives after the end of its move is refused, also where nothing of the move had arrived before', async () => {
  const { side, backend, files } = await source()
  const before = await backend.readRecord(volume)
  await side.undoSource({ ...command(first, 2), ...abort })
  await expect(side.begin(command(first, 2))).rejects.toMatchObject(stale)
  expect(await backend.readRecord(volume)).toEqual(before)
  expect((await EpochLedger.open('/data', files)).hasEnded(volume, first)).toBe(true)
  await side.begin(command(second, 4))
  expect(await backend.readRecord(volume)).toMatchObject({ moveId: second })
})

test('the end of a move starts nothing that another one, which is under way, has stopped', async () => {
  const asked: string[] = []
  const find = async (name: string) => {
    asked.push(name)
    return null
  }
  const { side, backend, journal } = await source({ find })
  const specs = [{ id: 'one', name: 'one', wasRunning: true, autoRemove: false }] as unknown as ContainerSpec[]
  const noted = { mode: 'stop', specs, killed: false, stopping: true, targetHostId: null } as const
  await journal.writeSource({ command: command(second, 4), ...noted })
  await side.begin(command(first, 2))
  await side.undoSource({ ...command(second, 4), ...abort })
  expect(asked).toEqual([])
  expect(await backend.readRecord(volume)).toMatchObject({ moveId: first })
})

test('the end of a move that never began leaves the one that is under way alone', async () => {
  const { side, backend } = await source()
  await side.begin(command(first, 2))
  await side.undoSource({ ...command(second, 4), ...abort })
  await side.seal({ ...command(first, 2), onlyIdle: false })
  expect(await backend.readRecord(volume)).toMatchObject({ moveId: first, role: 'sealed' })
  await side.undoSource({ ...command(first, 2), ...abort })
  await expect(side.begin(command(second, 4))).rejects.toMatchObject(stale)
})
