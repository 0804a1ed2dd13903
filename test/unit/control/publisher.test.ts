import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { Publisher } from '../../../src/control/publisher.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Host } from '../../../src/domain/host.ts'
import { hostId } from '../../../src/domain/ids.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { Agent, TableAnswer, TableUpdate } from '../../../src/migrate/agent.ts'
import { openSqliteStore } from '../../../src/state/sqlite-store.ts'
import { volumeRow } from '../../contract/store-suite.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const hostNamed = (name: string, last: string): Host => ({
  id: hostId(`01m855zwew1bf3we0hgewx8d7${last}`),
  name,
  address: '192.0.2.1:7460',
  dataAddress: '192.0.2.1:7461',
  pools: [],
  control: false,
  fingerprint: '',
  joinedAt: '2026-11-23T12:00:00.000Z',
})
const good = hostNamed('good', 'a')
const other = hostNamed('other', 'b')

/** A publisher over a real store with two hosts; `take` is what `other` does with a table. */
const publisherWith = async (take: (update: TableUpdate) => Promise<TableAnswer>) => {
  const store = await openSqliteStore({ path: join(await temporaryDirectory(), 'state.db'), clock: systemClock })
  onTestFinished(() => store.close())
  await store.putHost(good)
  await store.putHost(other)
  const taken: string[][] = []
  const agent = (host: Host): Agent => {
    const setTable = async (update: TableUpdate) => {
      if (host.id === other.id) return take(update)
      taken.push(update.table.entries.map(({ name }) => name))
      return { behind: false, fenced: [] }
    }
    return { setTable } as Partial<Agent> as Agent
  }
  return { store, taken, publisher: new Publisher({ store, agent, logger: silentLogger, clock: systemClock }) }
}

test('a host that never answers holds up neither the others nor those who wait', async () => {
  const { store, taken, publisher } = await publisherWith(() => new Promise(() => undefined))
  await publisher.publishNow()
  expect(taken).toEqual([[]])
  const row = await store.insertVolume({ ...volumeRow(1), ownerHostId: good.id })
  await publisher.publishNow()
  expect(taken).toEqual([[], [row.name]])
})

test('what changes while a push is under way is pushed after it', async () => {
  let answer = (_: TableAnswer): void => undefined
  const seen: number[] = []
  const { store, publisher } = await publisherWith((update) => {
    seen.push(update.table.entries.length)
    return new Promise((resolve) => {
      answer = resolve
    })
  })
  const first = publisher.publishNow()
  await expect.poll(() => seen).toEqual([0])
  await store.insertVolume({ ...volumeRow(1), ownerHostId: good.id })
  const second = publisher.publishNow()
  await expect.poll(() => store.hosts()).toHaveLength(2)
  answer({ behind: false, fenced: [] })
  await expect.poll(() => seen).toEqual([0, 1])
  answer({ behind: false, fenced: [] })
  await Promise.all([first, second])
})

test('a host that has seen a write which came after the table was read has seen no newer store', async () => {
  let pushes = 0
  const { store, publisher } = await publisherWith(async () => {
    pushes += 1
    if (pushes > 1) return { behind: false, fenced: [] }
    await store.insertVolume({ ...volumeRow(1), ownerHostId: good.id })
    return { behind: true, fenced: [] }
  })
  await publisher.publishNow()
  expect(pushes).toBe(2)
  expect(publisher.behindOf.size).toBe(0)
})

test('a host that has seen a newer store is remembered until it has not; after a start it is waited for', async () => {
  let behind = true
  const { publisher } = await publisherWith(async () => {
    await systemClock.sleep(behind ? 2_500 : 0)
    return { behind, fenced: [] }
  })
  await publisher.publishToAll()
  expect([...publisher.behindOf]).toEqual(['other'])
  behind = false
  await publisher.publishNow()
  expect([...publisher.behindOf]).toEqual([])
})

test('after a start nobody waits for ever; who answers late with a newer store is heard all the same', async () => {
  const late = Promise.withResolvers<void>()
  const { publisher } = await publisherWith(async () => {
    await late.promise
    return { behind: true, fenced: [] }
  })
  await publisher.publishToAll()
  expect([...publisher.behindOf]).toEqual([])
  late.resolve()
  await expect.poll(() => [...publisher.behindOf]).toEqual(['other'])
})

test('a host that cannot be reached is tried again at the next change', async () => {
  let tries = 0
  const { publisher } = await publisherWith(async () => {
    tries += 1
    throw new DroverError('HOST_UNREACHABLE', 'other is down')
  })
  await publisher.publishNow()
  await publisher.publishNow()
  expect(tries).toBe(2)
})
