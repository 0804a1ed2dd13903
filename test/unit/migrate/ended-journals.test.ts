import { beforeEach, expect, test } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { dropEndedJournals } from '../../../src/migrate/ended-journals.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import type { VolumeHost } from '../../../src/volumes/host.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = { volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 }

let host: VolumeHost
let journal: MoveJournal
let backend: Backend
beforeEach(async () => {
  const memory = await memoryHost()
  host = memory.host
  backend = memory.backend
  journal = new MoveJournal('/data', memory.files)
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
