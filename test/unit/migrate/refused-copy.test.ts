import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { waitingName } from '../../../src/containers/waiting-name.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { type MoveId, moveId, volumeId } from '../../../src/domain/ids.ts'
import type { MoveCommand } from '../../../src/migrate/agent.ts'
import { MoveJournal } from '../../../src/migrate/move-journal.ts'
import { TargetSide } from '../../../src/migrate/target-side.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { memoryHost } from '../../support/memory-host.ts'

const volume = volumeId('v'.repeat(26))
const [first, second] = [moveId('m'.repeat(26)), moveId('n'.repeat(26))]
const commandOf = (move: MoveId, epoch: number): MoveCommand => ({
  volumeId: volume,
  volumeName: 'db',
  moveId: move,
  epoch,
  returnEpoch: epoch + 1,
})
const beginArgs = (move: MoveId, epoch: number) => ({
  ...commandOf(move, epoch),
  pool: 'btrfs:/pool',
  sizeBytes: null,
  labels: {},
  createdAt: '2026-11-24T00:00:00.000Z',
})

/** A target whose engine is down when the first move is refused: its container, partial and journal stay. */
const refusedTarget = async () => {
  const memory = await memoryHost()
  const made = [
    {
      id: 'c1',
      name: waitingName('writer', first),
      moveId: first as string,
      neverStarted: true,
    },
  ]
  const engine = { up: false }
  const runtime = {
    madeByMoves: async () => {
      if (engine.up) return made
      throw new DroverError('DOCKER_UNREACHABLE', 'the engine does not answer')
    },
    remove: async (id: string) =>
      void made.splice(
        made.findIndex((container) => container.id === id),
        1,
      ),
  } as Partial<ContainerRuntime> as ContainerRuntime
  const journal = new MoveJournal('/data', memory.files)
  const firstMount = await FirstMount.open('/data', async () => 0, memory.host.machine)
  const target = new TargetSide(memory.host, runtime, journal, firstMount)
  await target.begin(beginArgs(first, 2))
  await target.prepareReceive(commandOf(first, 2))
  await journal.writeTarget({ command: commandOf(first, 2), containers: [] })
  await expect(target.refuse(commandOf(first, 2))).rejects.toMatchObject({ code: 'DOCKER_UNREACHABLE' })
  return { ...memory, target, journal, engine, made }
}

test('a new move does not take over a refused copy before all of the old one is removed', async () => {
  const { target, backend, engine } = await refusedTarget()
  await expect(target.begin(beginArgs(second, 4))).rejects.toMatchObject({ code: 'DOCKER_UNREACHABLE' })
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'refused', moveId: first })
  engine.up = true
})

test('it removes what is left of the old one: containers, partials, journal', async () => {
  const { host, target, backend, journal, engine, made } = await refusedTarget()
  engine.up = true
  await target.begin(beginArgs(second, 4))
  expect(await backend.readRecord(volume)).toMatchObject({ role: 'receiving', moveId: second })
  expect(made).toEqual([])
  expect(await backend.streams.partials(volume)).toEqual([])
  expect(await journal.all()).toEqual([])
  expect(host.epochs.hasEnded(volume, first)).toBe(true)
})

test('a target whose disk was rolled back has no record of the move, and its engine keeps nothing of it either', async () => {
  const { host, target, backend, engine, made } = await refusedTarget()
  await backend.destroy(volume)
  engine.up = true
  await target.refuse(commandOf(first, 2))
  expect(made).toEqual([])
  expect(host.epochs.hasEnded(volume, first)).toBe(true)
})

test('nor a container that had its own name by then, and was not started; one that ran is left alone', async () => {
  const { target, backend, engine, made } = await refusedTarget()
  await backend.destroy(volume)
  engine.up = true
  const ran = { id: 'c2', name: 'reader', moveId: first as string, neverStarted: false }
  made.splice(0, 1, { id: 'c1', name: 'writer', moveId: first, neverStarted: true }, ran)
  await target.refuse(commandOf(first, 2))
  expect(made).toEqual([ran])
})
