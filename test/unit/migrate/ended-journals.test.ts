import { beforeEach, expect, test } from 'vitest'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { clusterId, hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { Files } from '../../../src/lib/files.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { dropEndedJournals } from '../../../src/migrate/ended-journals.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { Catalog } from '../../../src/volumes/catalog.ts'
import { EpochLedger } from '../../../src/volumes/epoch-ledger.ts'
import { VolumeHost } from '../../../src/volumes/host.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { Kernel } from '../../simulation/kernel.ts'
import { MemoryBackend, quickHand } from '../../simulation/memory-backend.ts'
import { MemoryPool } from '../../simulation/memory-pool.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }

let host: VolumeHost
let journal: MoveJournal
let backend: MemoryBackend
beforeEach(async () => {
  const stored = new Map<string, string>()
  const files: Files = {
    readIfExists: async (path) => stored.get(path) ?? null,
    writeJsonDurably: async (path, value) => void stored.set(path, JSON.stringify(value)),
    ensureDirectory: async () => {},
    list: async (path) =>
      [...stored.keys()].filter((name) => name.startsWith(path)).map((name) => name.slice(path.length + 1)),
    remove: async (path) => void stored.delete(path),
  }
  const pool = new MemoryPool('/pool')
  backend = new MemoryBackend(pool, new Kernel(pool), quickHand, () => '2026-11-24T00:00:00.000Z')
  host = new VolumeHost({
    dataDir: '/data',
    backends: [backend],
    epochs: await EpochLedger.open('/data', files),
    catalog: await Catalog.open('/data', files),
    clock: systemClock,
    logger: silentLogger,
    identity: { clusterId: clusterId('c'.repeat(26)), hostId: hostId('h'.repeat(26)), hostName: 'host1' },
  })
  journal = new MoveJournal('/data', files)
  await journal.writeTarget({ command, containers: [] })
  await journal.writeSource({ command, mode: 'stop', specs: [], killed: false, stopping: true, targetHostId: null })
})

const sides = async () => (await journal.all()).map(({ side }) => side)
const recorded = (change: Partial<DatasetRecord>) =>
  backend.writeRecord({ ...recordOf(volume, backend), volumeId: volume, ...change })

test('the record says that the move has ended: its journals go, and late commands of it are stale', async () => {
  await recorded({ endedMoves: [move] })
  await dropEndedJournals(host, journal)
  expect(await sides()).toEqual([])
  expect(host.epochs.hasEnded(volume, move)).toBe(true)
  expect(host.epochs.seen(volume)).toBe(3)
})

test('a move that is under way keeps them', async () => {
  await recorded({ moveId: move })
  await dropEndedJournals(host, journal)
  expect(await sides()).toEqual(['source', 'target'])
  expect(host.epochs.hasEnded(volume, move)).toBe(false)
})

test('no record: a target has removed what it refused; what a source journaled stays', async () => {
  await dropEndedJournals(host, journal)
  expect(await sides()).toEqual(['source'])
})
