import { expect, test } from 'vitest'
import { newId, recordOf } from '../contract/backend-bench.ts'
import { TriedPool } from '../contract/tried-pool.ts'
import { makePool } from './memory-pool-under-test.ts'

const opened = async ({ staysOpen }: { staysOpen: boolean }): Promise<TriedPool> => {
  const tried = new TriedPool(async () => ({ ...(await makePool()), staysOpen }))
  await tried.make()
  await tried.open()
  return tried
}

const volumeOn = async ({ backend }: TriedPool) => {
  const id = newId()
  await backend.writeRecord(recordOf(id, backend))
  await backend.create(id, { sizeBytes: null })
  return id
}

test('each test has a backend of its own, or all have one, on one pool', async () => {
  for (const staysOpen of [false, true]) {
    const tried = await opened({ staysOpen })
    const { pool, backend } = tried
    await volumeOn(tried)
    await tried.clear()
    await tried.checkAtRest(false)
    await tried.open()
    expect(tried.pool).toBe(pool)
    expect(tried.backend === backend).toBe(staysOpen)
    expect((await tried.backend.list()).records).toEqual([])
    await tried.clear()
    await tried.dispose()
  }
})

test.each<[string, (tried: TriedPool) => Promise<unknown>]>([
  ['a volume', volumeOn],
  ['what a crash leaves of one in the making', ({ pool }) => pool.interruptMaking(newId())],
  ["what is not Drover's", ({ pool }) => pool.plantForeign()],
])(
  'a test that leaves %s on a pool that stays open has failed, and the next one gets another pool',
  async (_, leave) => {
    const tried = await opened({ staysOpen: true })
    const { pool, backend } = tried
    await tried.clear()
    await leave(tried)
    await expect(tried.checkAtRest(false)).rejects.toThrow('the test left')
    await tried.open()
    expect(tried.pool).not.toBe(pool)
    expect(tried.backend).not.toBe(backend)
    expect(await tried.backend.list()).toEqual({ records: [], foreign: [] })
    await tried.checkAtRest(false)
    await tried.dispose()
  },
)

test('after a test that has failed the next one gets another pool', async () => {
  const tried = await opened({ staysOpen: true })
  const { pool } = tried
  await tried.clear()
  await tried.checkAtRest(true)
  await tried.open()
  expect(tried.pool).not.toBe(pool)
  await tried.dispose()
})
