import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { SourceSide } from '../../../src/migrate/source-side.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }

test('a move whose undo has begun is not taken up again: what was journaled of its writers is of before', async () => {
  const { host, backend, files } = await memoryHost()
  const journal = new MoveJournal('/data', files)
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const runtime = { usersOf: async () => [] } as Partial<ContainerRuntime> as ContainerRuntime
  const source = new SourceSide(host, runtime, journal, watchdog)
  await backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume, moveId: move })
  await backend.create(volume, { sizeBytes: null })
  try {
    await source.seal({ ...command, onlyIdle: false })
    await source.quiesce({ ...command, mode: 'stop' })
    // The first thing an undo writes; vold died after it.
    await backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume, moveId: move, role: 'owner' })
    await expect(source.seal({ ...command, onlyIdle: false })).rejects.toMatchObject({ code: 'STALE_EPOCH' })
    expect(await backend.readRecord(volume)).toMatchObject({ role: 'owner' })
  } finally {
    watchdog.close()
  }
})
