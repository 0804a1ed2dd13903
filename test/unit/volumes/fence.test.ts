import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import { hostId, volumeId } from '../../../src/domain/ids.ts'
import type { CatalogEntry } from '../../../src/volumes/catalog.ts'
import { Fence } from '../../../src/volumes/fence.ts'
import { createVolume } from '../../../src/volumes/lifecycle.ts'
import { memoryHost } from '../../support/memory-host.ts'

const id = volumeId(`v${'1'.padStart(25, '0')}`)
const runtime = {
  usersOf: async () => [
    { id: 'c1', name: 'writer', state: 'running', image: 'i', pid: 1, startsByItself: false, mountPath: '/d' },
  ],
} as Partial<ContainerRuntime> as ContainerRuntime

const entry = (epoch: number, changes: Partial<CatalogEntry> = {}): CatalogEntry => ({
  ...{
    id,
    name: 'db',
    ownerHostId: hostId('o'.repeat(26)),
    ownerHost: 'other',
    epoch,
    sizeBytes: null,
    labels: {},
    options: {},
  },
  createdAt: '2026-11-24T00:00:00.000Z',
  ...changes,
})

const hostWithVolume = async () => {
  const { host, backend } = await memoryHost()
  await createVolume(host, { volumeId: id, name: 'db', pool: backend.spec.text, epoch: 3, sizeBytes: null, labels: {} })
  const fence = new Fence(host, runtime)
  let sequence = 0
  return {
    heed: (...entries: CatalogEntry[]) => fence.heed({ term: 0, sequence: ++sequence, entries }),
    role: async () => (await host.held(id))?.record.role,
    live: async () => (await backend.live(id))?.uuid,
  }
}

test('an owner elsewhere at a higher epoch makes this copy diverged, with its data, and names who still runs on it', async () => {
  const { heed, role, live } = await hostWithVolume()
  const before = await live()
  expect(await heed(entry(5))).toEqual([
    { volumeId: id, name: 'db', epoch: 3, ownedAt: 5, owner: 'other', running: ['writer'] },
  ])
  expect(await role()).toBe('diverged')
  expect(await live()).toBe(before)
  expect(await heed(entry(5))).toEqual([])
})

test('no higher epoch, or an owner that is not known: the copy is what it was', async () => {
  const { heed, role } = await hostWithVolume()
  expect(await heed(entry(3))).toEqual([])
  expect(await heed(entry(5, { unknown: true }))).toEqual([])
  expect(await role()).toBe('owner')
  expect(await heed(entry(5))).toHaveLength(1)
})
