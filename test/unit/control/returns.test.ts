import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ControlParts } from '../../../src/control/parts.ts'
import { Returns } from '../../../src/control/returns.ts'
import { DroverError, type ErrorCode } from '../../../src/domain/errors.ts'
import { type HostId, moveId } from '../../../src/domain/ids.ts'
import type { MoveRecord } from '../../../src/domain/move.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import type { Mover } from '../../../src/migrate/mover.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { makeMove, volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

/** Ids of long ago: those of ways back come after them. */
const mov = (count: number) => moveId(String(count).padStart(26, '0'))

/** A group of so many volumes that came from host1 to host2, where the container of the first does not become healthy. */
const returning = async (count: number) => {
  let ms = 0
  const clock = { ...systemClock, monotonic: () => ms }
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock })
  onTestFinished(() => store.close())
  const numbers = Array.from({ length: count }, (_, index) => index + 1)
  const volumes = await Promise.all(numbers.map((number) => store.insertVolume(volumeRow(number))))
  const lead = mov(1)
  const begun = await store.beginGroup(volumes, (volume, ...epochs) => ({
    ...makeMove(1, volume)(...epochs),
    id: mov(volumes.findIndex(({ id }) => id === volume.id) + 1),
    groupId: lead,
  }))
  const [{ sourceHostId, targetHostId } = makeNone()] = begun
  const row = (id: HostId, name: string) => ({
    ...{ id, name, address: '', dataAddress: '', pools: [], control: name === 'host1', fingerprint: '', joinedAt: '' },
  })
  const hosts = [row(sourceHostId, 'host1'), row(targetHostId, 'host2')]
  for (const host of hosts) await store.putHost(host)
  const now = new Date(clock.now()).toISOString()
  for (const move of begun) {
    await store.updateMove({ ...move, state: 'verified', finalSnapshot: 's', returnDue: move.id === lead })
  }
  await store.commitMove(begun.map(({ id }) => id))
  for (const { id } of begun) {
    await store.activateMove(id)
    await store.finishMove(id, now)
  }

  const world = { problem: null as ErrorCode | null, asked: 0, dropped: 0 }
  const pool = { spec: 'p', kind: 'btrfs', totalBytes: 2 ** 40, freeBytes: 2 ** 40 }
  const agent = {
    observe: async () => {
      world.asked += 1
      if (world.problem !== null) throw new DroverError(world.problem, 'that is how it is')
      return {
        record: { role: 'owner', moveId: null },
        usedBytes: 1,
        intactSnapshots: [],
        nested: [],
        uses: [],
        inUseBy: null,
        specs: [],
        streamFormat: 'f',
      }
    },
    checkTarget: async () => ({ pool, streamFormat: 'f', intactSnapshots: [], problems: [], role: null }),
    finishTarget: async () => {
      world.dropped += 1
    },
  } as unknown as Agent
  const events: string[] = []
  const parts = {
    ...{ store, clock, logger: silentLogger, agent: () => agent, mayWrite: async () => {} },
    hostById: async (id: HostId) => hosts.find((host) => host.id === id),
    hostName: async (id: HostId) => hosts.find((host) => host.id === id)?.name,
    emit: async (type: string) => void events.push(type),
  } as unknown as ControlParts
  const started: MoveRecord[] = []
  const mover = { start: (move: MoveRecord) => void started.push(move) } as Partial<Mover> as Mover
  const returns = new Returns(parts, () => mover)
  return {
    ...{ store, world, events, started, returns, lead },
    run: async (passMs = 0) => {
      ms += passMs
      await returns.run()
      return store.move(lead)
    },
    undo: async (code: ErrorCode) => {
      const [back] = started.splice(0)
      const group = await store.moves({ groupId: back?.groupId ?? lead })
      const epochs = new Map(group.map(({ id, returnEpoch }) => [id, returnEpoch]))
      await store.abortGroup(back?.groupId ?? lead, epochs, { code, message: 'it was undone' }, now)
    },
  }
}
const makeNone = (): MoveRecord => {
  throw new Error('nothing began')
}

test('a group goes back as a group, once, and each of its rows names its way back', async () => {
  const { store, started, lead, run } = await returning(3)
  const first = await run()
  expect(started).toHaveLength(3)
  expect(new Set(started.map(({ groupId }) => groupId))).toEqual(new Set([started[0]?.id]))
  expect(started.map(({ returnOf }) => returnOf)).toEqual([lead, mov(3), mov(2)].toSorted())
  expect(started.every(({ request }) => request.to === 'host1' && request.noReturn === true)).toBe(true)
  expect(first).toMatchObject({ returnDue: false, returnedBy: started[0]?.id })
  for (const { id, returnOf } of started) expect(await store.move(returnOf ?? id)).toMatchObject({ returnedBy: id })
  await run(600_000)
  expect(started).toHaveLength(3)
})

test('a host that is away is waited for, with longer and longer pauses', async () => {
  const { world, started, run } = await returning(2)
  world.problem = 'HOST_UNREACHABLE'
  for (const [passMs, asked] of [
    [0, 1],
    [4_000, 1],
    [1_000, 2],
    [9_000, 2],
    [1_000, 3],
    [3_600_000, 4],
  ] as const) {
    expect(await run(passMs)).toMatchObject({ returnDue: true, returnedBy: null })
    expect(world.asked).toBe(asked)
  }
  world.problem = null
  expect(await run(60_000)).toMatchObject({ returnDue: false })
  expect(started).toHaveLength(2)
})

test('what will not pass is given up at once, with one line that says what to do', async () => {
  const { world, started, events, run } = await returning(2)
  world.problem = 'NESTED_DATASET'
  const move = await run()
  expect(move).toMatchObject({ returnDue: false, returnedBy: null })
  expect(move?.warnings).toMatchObject([
    /^the group of .* did not go back: NESTED_DATASET: .* on host host2: .*vol move --to host1$/,
  ])
  expect({ started: started.length, events, dropped: world.dropped }).toMatchObject({
    ...{ started: 0, events: ['move.not-returned'], dropped: 1 },
  })
})

test('a way back that is undone is tried again while its reason is one that passes, as a group', async () => {
  const { started, run, undo } = await returning(2)
  await run()
  const first = started[0]?.id
  await undo('HOST_UNREACHABLE')
  expect(await run()).toMatchObject({ returnDue: true, returnedBy: first })
  expect(started).toEqual([])
  expect(await run(5_000)).toMatchObject({ returnDue: false, returnedBy: started[0]?.id })
  expect(started).toHaveLength(2)
  expect(started[0]?.id).not.toBe(first)
})

test('one that is cancelled is given up; one that stays busy after five tries', async () => {
  const cancelled = await returning(2)
  await cancelled.run()
  await cancelled.undo('MOVE_CANCELLED')
  expect(await cancelled.run()).toMatchObject({ returnDue: false, returnedBy: null, warnings: [/MOVE_CANCELLED/] })
  await cancelled.run(600_000)
  expect(cancelled.started).toEqual([])

  const busy = await returning(2)
  let begun = 0
  for (let left = 10; left > 0; left -= 1) {
    await busy.run(120_000)
    if (busy.started.length === 0) break
    begun += 1
    await busy.undo('VOLUME_BUSY')
    await busy.run()
  }
  expect(begun).toBe(5)
  expect(await busy.store.move(busy.lead)).toMatchObject({ returnDue: false, warnings: [/VOLUME_BUSY/] })
})

test('a volume of the group that was moved meanwhile ends it', async () => {
  const { store, world, run } = await returning(2)
  const [volume] = (await store.volumes()).filter(({ id }) => id === volumeRow(2).id)
  if (volume === undefined) throw new Error('it is there')
  const move = await store.beginMove(volume, (epoch, returnEpoch) => ({
    ...makeMove(9, volume)(epoch, returnEpoch),
    id: mov(9),
  }))
  await store.updateMove({ ...move, state: 'verified' })
  await store.commitMove([move.id])
  await store.activateMove(move.id)
  await store.finishMove(move.id, '')
  expect(await run()).toMatchObject({ returnDue: false, warnings: [/moved or removed meanwhile/] })
  expect(world.asked).toBe(0)
})
