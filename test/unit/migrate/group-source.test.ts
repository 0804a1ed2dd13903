import { expect, test } from 'vitest'
import type { ContainerRuntime, ContainerSpec } from '../../../src/containers/runtime.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { SourceSide } from '../../../src/migrate/source-side.ts'
import { Watchdog } from '../../../src/migrate/watchdog.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const commandOf = (letter: string): MoveCommand => ({
  volumeId: volumeId(letter.repeat(26)),
  volumeName: letter,
  moveId: moveId(`${letter.repeat(25)}1`),
  epoch: 2,
  returnEpoch: 3,
})
const lead = commandOf('a')
const other = commandOf('b')
const target = hostId('t'.repeat(26))
const group = { leadId: lead.moveId, members: [lead, other] }
const spec = { id: 'c1', name: 'both', volumeName: 'a', alongside: ['b'], wasRunning: true } as unknown as ContainerSpec

/** One container on two volumes of a group, both sealed and quiesced. */
const quiesced = async () => {
  const { host, backend, files } = await memoryHost()
  const watchdog = new Watchdog(systemClock, silentLogger, async () => {})
  const state = { value: 'running' }
  const captured: string[][] = []
  const runtime = {
    usersOf: async () => [{ id: 'c1' }],
    capture: async (_id: string, names: readonly string[]) => {
      captured.push([...names])
      return spec
    },
    disarm: async () => {},
    rearm: async () => {},
    stop: async () => {
      state.value = 'exited'
    },
    start: async () => {
      state.value = 'running'
    },
    find: async () => ({ id: 'c1', state: state.value, labels: {} }),
  } as unknown as ContainerRuntime
  const source = new SourceSide(host, runtime, new MoveJournal('/data', files), watchdog)
  for (const { volumeId: id, volumeName, moveId: move } of [lead, other]) {
    await backend.writeRecord({ ...recordOf(id, backend), volumeId: id, name: volumeName, moveId: move })
    await backend.create(id, { sizeBytes: null })
  }
  for (const command of [lead, other]) await source.seal({ ...command, onlyIdle: false })
  for (const command of [lead, other]) await source.quiesce({ ...command, mode: 'stop', group })
  const roles = async () =>
    Promise.all([lead, other].map(async (one) => (await backend.readRecord(one.volumeId))?.role))
  const release = async (command: MoveCommand, proveOnly = false) => {
    await source.snapshot({ ...command, name: `move-${command.moveId}-0`, final: true })
    const snapshot = `move-${command.moveId}-0`
    return source.release({ ...command, snapshot, targetHostId: target, proveOnly })
  }
  return { source, state, captured, roles, release, close: () => watchdog.close() }
}

test('the lead has the containers of all volumes, each once; they start when every volume may be mounted again', async () => {
  const { source, state, captured, roles, close } = await quiesced()
  try {
    expect([state.value, captured]).toEqual(['exited', [['a', 'b']]])
    const back = { ownerEpoch: 1, abortStored: false }
    await expect(source.undoSource({ ...lead, ...back })).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
    expect(state.value).toBe('exited')
    await source.undoSource({ ...other, ...back })
    expect(state.value).toBe('exited')
    await source.undoSource({ ...lead, ...back })
    expect([state.value, await roles()]).toEqual(['running', ['owner', 'owner']])
  } finally {
    close()
  }
})

test('proven is not released', async () => {
  const { release, roles, close } = await quiesced()
  try {
    expect(await release(lead, true)).toEqual({ changed: false })
    expect(await roles()).toEqual(['sealed', 'sealed'])
  } finally {
    close()
  }
})

test('without control all of a group come back, whichever is asked for, and the containers last', async () => {
  const { source, state, release, roles, close } = await quiesced()
  try {
    await release(other)
    const refused: string[] = []
    await source.settleAlone(other, async (_, { volumeName }) => void refused.push(volumeName))
    expect([refused, await roles(), state.value]).toEqual([['b'], ['owner', 'owner'], 'running'])
  } finally {
    close()
  }
})

test('without control nothing comes back when the target has taken the lead over', async () => {
  const { source, state, release, roles, close } = await quiesced()
  try {
    await release(lead)
    await release(other)
    const asked: string[] = []
    const settled = source.settleAlone(other, async (_, { volumeName }) => {
      asked.push(volumeName)
      throw new DroverError('TOO_LATE', 'it is owner')
    })
    await expect(settled).rejects.toMatchObject({ code: 'TOO_LATE' })
    expect([asked, await roles(), state.value]).toEqual([['a'], ['released', 'released'], 'exited'])
  } finally {
    close()
  }
})
