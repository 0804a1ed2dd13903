import { expect, test } from 'vitest'
import type { ContainerRuntime, ContainerSpec } from '../../../src/containers/runtime.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { hostId, moveId, volumeId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { asSource } from '../../../src/migrate/sides.ts'
import { SourceSide, sharedBySources } from '../../../src/migrate/source-side.ts'
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
const elsewhere: MoveCommand = { ...other, sourcePool: 'btrfs:/other' }
const target = hostId('t'.repeat(26))
const spec = { id: 'c1', name: 'both', volumeName: 'a', alongside: ['b'], wasRunning: true } as unknown as ContainerSpec

/** One container on two volumes of a group, both sealed and quiesced; in two pools, where that is asked for. */
const quiesced = async ({ twoPools = false } = {}) => {
  const { host, backend, other: second, files } = await memoryHost({ twoPools })
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
  const journal = new MoveJournal('/data', files)
  const shared = sharedBySources(host)
  const sourceOf = (command: MoveCommand) => new SourceSide(asSource(host, command), runtime, journal, watchdog, shared)
  const members = twoPools ? [{ ...lead, sourcePool: 'btrfs:/pool' }, elsewhere] : [lead, other]
  const group = { leadId: lead.moveId, members }
  const pools = twoPools ? [backend, second] : [backend, backend]
  for (const [index, pool] of pools.entries()) {
    const { volumeId: id, volumeName, moveId: move } = index === 0 ? lead : other
    await pool.writeRecord({ ...recordOf(id, pool), volumeId: id, name: volumeName, moveId: move })
    await pool.create(id, { sizeBytes: null })
  }
  for (const command of members) await sourceOf(command).seal({ ...command, onlyIdle: false })
  for (const command of members) await sourceOf(command).quiesce({ ...command, mode: 'stop', group })
  const roles = async () => Promise.all(members.map(async (one) => (await host.held(one.volumeId))?.record.role))
  const release = async (command: MoveCommand, proveOnly = false) => {
    const source = sourceOf(command)
    await source.snapshot({ ...command, name: `move-${command.moveId}-0`, final: true })
    const snapshot = `move-${command.moveId}-0`
    return source.release({ ...command, snapshot, targetHostId: target, proveOnly })
  }
  const source = sourceOf(twoPools ? elsewhere : lead)
  return { source, sourceOf, state, captured, roles, release, close: () => watchdog.close() }
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

test('over two pools: a source alone takes nothing back while the lead in the other one was released and not refused', async () => {
  const { source, state, release, roles, close } = await quiesced({ twoPools: true })
  try {
    await release({ ...lead, sourcePool: 'btrfs:/pool' })
    await release(elsewhere)
    const asked: string[] = []
    let answer: 'TOO_LATE' | null = 'TOO_LATE'
    const refuse = async (_: unknown, { volumeName }: MoveCommand) => {
      asked.push(volumeName)
      if (answer !== null) throw new DroverError(answer, 'it is owner')
    }
    await expect(source.settleAlone(elsewhere, refuse)).rejects.toMatchObject({ code: 'TOO_LATE' })
    expect([asked, await roles(), state.value]).toEqual([['a'], ['released', 'released'], 'exited'])
    answer = null
    await source.settleAlone(elsewhere, refuse)
    expect([asked, await roles(), state.value]).toEqual([['a', 'a', 'b', 'a'], ['owner', 'owner'], 'running'])
  } finally {
    close()
  }
})

test('over two pools: the containers wait for the volume that is sealed in the other one', async () => {
  const { sourceOf, state, close } = await quiesced({ twoPools: true })
  try {
    const undone = { ...lead, sourcePool: 'btrfs:/pool', ownerEpoch: 1, abortStored: false }
    await expect(sourceOf(undone).undoSource(undone)).rejects.toMatchObject({ code: 'VOLUME_SEALED' })
    expect(state.value).toBe('exited')
  } finally {
    close()
  }
})
