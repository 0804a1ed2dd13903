import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Reconciler } from '../../../src/control/reconciler.ts'
import type { Host } from '../../../src/domain/host.ts'
import { hostId, moveId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { makeMove, volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const idOf = (letter: string, count: number) => `${letter}${String(count).padStart(25, '0')}`

/** Two hosts; the first has moves of several volumes still to undo, and hangs with those that `hangs` names. */
const cluster = async (count: number, hangs: (volumeName: string) => boolean) => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  const hosts: Host[] = [1, 2].map((number) => ({
    ...{ id: hostId(idOf('h', number)), name: `host${number}`, address: '', dataAddress: '', pools: [] },
    ...{ control: number === 1, fingerprint: '', joinedAt: '' },
  }))
  for (const host of hosts) await store.putHost(host)
  const records: object[] = []
  for (let number = 1; number <= count; number += 1) {
    const volume = await store.insertVolume(volumeRow(number))
    const id = moveId(idOf('m', number))
    await store.beginMove(volume, (...epochs) => ({ ...makeMove(number, volume)(...epochs), id }))
    await store.abortMove(id, 1, { code: 'MOVE_FAILED', message: '' }, '')
    records.push({ volumeId: volume.id, name: volume.name, role: 'sealed', moveId: id, hostId: hosts[0]?.id })
  }
  const done: string[] = []
  const release = Promise.withResolvers<void>()
  const asked = { host1: 0, host2: 0 }
  const agent = (host: Host) =>
    ({
      holdings: async () => {
        asked[host.name as 'host1' | 'host2'] += 1
        return host.name === 'host1' ? records : []
      },
      undoSource: async ({ volumeName }: { volumeName: string }) => {
        if (hangs(volumeName)) await release.promise
        done.push(volumeName)
      },
      refuseTarget: async () => {},
      holding: async () => null,
      keptDigests: async () => [],
    }) as Partial<Agent> as Agent
  const reconciler = new Reconciler({ store, agent, logger: silentLogger, clock: systemClock })
  return { reconciler, done, asked, release }
}

const until = async (isSo: () => boolean): Promise<void> => {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1))
}

test('a volume that hangs does not keep the others of its host from being settled', async () => {
  const { reconciler, done, release } = await cluster(6, (name) => name === 'volume-1')
  const running = reconciler.run()
  await until(() => done.length === 5)
  release.resolve()
  expect(await running).toBe(true)
  expect(done.toSorted()).toEqual([1, 2, 3, 4, 5, 6].map((number) => `volume-${number}`))
})

test('a host that hangs is asked once, and does not keep the next runs from the other one', async () => {
  const { reconciler, asked, release } = await cluster(5, () => true)
  const runs = [reconciler.run()]
  for (let count = 2; count < 5; count += 1) {
    await until(() => asked.host2 === runs.length)
    await new Promise((resolve) => setImmediate(resolve))
    runs.push(reconciler.run())
    await until(() => asked.host2 === count)
  }
  expect(asked.host1).toBe(1)
  release.resolve()
  // What they wait for may have looked before they were wished for.
  expect(await Promise.all(runs)).toEqual([true, false, false, false])
  await reconciler.settled()
})

test.each([
  ['of the pool that is moved', 'btrfs:/one', 'btrfs:/two', ['refuse', 'undo']],
  ['of the pool where it goes', 'btrfs:/two', 'btrfs:/two', ['refuse']],
  ['where the row knows no target', 'btrfs:/one', '', ['undo']],
  ['of neither pool', 'btrfs:/three', 'btrfs:/two', ['refuse']],
])('of an ended move at one host a copy %s hears what concerns it', async (_, pool, targetPool, heard) => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  const volume = await store.insertVolume(volumeRow(1))
  const id = moveId(idOf('m', 1))
  const host: Host = {
    ...{ id: volume.ownerHostId, name: 'host1', address: '', dataAddress: '', pools: [] },
    ...{ control: true, fingerprint: '', joinedAt: '' },
  }
  await store.putHost(host)
  await store.beginMove(volume, (...epochs) => ({
    ...makeMove(1, volume)(...epochs),
    ...{ id, targetHostId: host.id, targetPool },
  }))
  await store.abortMove(id, 1, { code: 'MOVE_FAILED', message: '' }, '')
  const records: object[] = [
    { volumeId: volume.id, name: volume.name, role: 'sealed', moveId: id, hostId: host.id, pool },
  ]
  const done: string[] = []
  const agent = () =>
    ({
      holdings: async () => records,
      undoSource: async () => void done.push('undo'),
      refuseTarget: async () => void done.push('refuse'),
      keptDigests: async () => [],
    }) as Partial<Agent> as Agent
  const reconciler = new Reconciler({ store, agent, logger: silentLogger, clock: systemClock })
  await reconciler.run()
  expect([...new Set(done)].toSorted()).toEqual(heard)
})
