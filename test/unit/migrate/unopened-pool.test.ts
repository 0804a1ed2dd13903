import { expect, test } from 'vitest'
import { moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { createLocalAgent, type LocalAgentParts } from '../../../src/migrate/local-agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const move = moveId('m'.repeat(26))
const command: MoveCommand = {
  ...{ volumeId: volume, volumeName: 'db', moveId: move, epoch: 2, returnEpoch: 3 },
  ...{ sourcePool: 'btrfs:/pool', targetPool: 'btrfs:/gone', oneHost: true },
}

const agentHere = async () => {
  const memory = await memoryHost()
  const { host, backend, files } = memory
  const runtime = { madeByMoves: async () => [] }
  const agent = createLocalAgent({ host, runtime, digests: { busy: () => false } } as unknown as LocalAgentParts)
  const released = { ...recordOf(volume, backend), volumeId: volume, moveId: move, role: 'released' as const }
  await backend.writeRecord(released)
  return { ...memory, agent, journal: new MoveJournal('/data', files) }
}

test('nothing is refused on behalf of a pool that is not opened: it may hold what the target has written', async () => {
  const { agent, host, backend } = await agentHere()
  for (const oneHost of [true, undefined] as const) {
    await expect(agent.refuseTarget({ ...command, oneHost })).rejects.toMatchObject({ code: 'NO_SUCH_POOL' })
  }
  await expect(agent.activate({ ...command, snapshot: 's' })).rejects.toMatchObject({ code: 'NO_SUCH_POOL' })
  expect(host.epochs.all()).toEqual([])
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'released' })
})

test('the journal of a target in a pool that is not opened is kept', async () => {
  const { agent, host, journal } = await agentHere()
  await journal.writeTarget({ command, containers: [] })
  await agent.sweep()
  expect(await journal.target(move)).not.toBeNull()
  expect(host.epochs.all()).toEqual([])
})
