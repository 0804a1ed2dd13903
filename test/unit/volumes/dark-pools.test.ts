import { expect, test, vi } from 'vitest'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { hostId, type VolumeId, volumeId } from '../../../src/domain/ids.ts'
import { type Clock, systemClock } from '../../../src/lib/clock.ts'
import { heardHere } from '../../../src/volumes/dark-pools.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { mountOwned, unmountOwned } from '../../../src/volumes/mounting.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import type { MemoryBackend } from '../../simulation/memory-backend.ts'
import { memoryHost } from '../../support/memory-host.ts'

const [id, second] = [volumeId('v'.repeat(26)), volumeId('w'.repeat(26))]
const hastyClock: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(ms / 200, signal) }

/** A host of two pools; volumes of the first are owned here, and may be mounted. */
const twoPools = async () => {
  const memory = await memoryHost({ twoPools: true, clock: hastyClock })
  const { host } = memory
  const own = async (of: VolumeId, pool: MemoryBackend, part: Partial<DatasetRecord> = {}) => {
    const { uuid } = await pool.create(of, { sizeBytes: null })
    await pool.writeRecord({ ...recordOf(of, pool), ...host.identity, datasetUuid: uuid, ...part })
  }
  const table = (epoch: number) =>
    host.catalog.replace({
      ...{ sequence: 1, term: 0 },
      entries: [id, second].map((of) => ({
        ...{ id: of, name: of === id ? 'db' : 'web', ownerHostId: host.identity.hostId, ownerHost: 'host1', epoch },
        ...{ sizeBytes: null, labels: {}, options: {}, createdAt: '' },
      })),
    })
  const firstMount = await FirstMount.open('/data', async () => 0, host.machine)
  const mount = (of: VolumeId, caller = 'c1') => mountOwned(host, firstMount, of, caller)
  return { ...memory, own, table, mount, unmount: (of: VolumeId) => unmountOwned(host, of, 'c1') }
}

const breaks: Record<string, () => Promise<never>> = {
  'gives errors': () => Promise.reject(new Error('EIO: i/o error')),
  hangs: () => new Promise(() => {}),
}
const ways = Object.entries(breaks)

test.each(ways)(
  'a pool that %s and has nothing of a volume stops neither its Mount nor its Unmount',
  async (_, read) => {
    const { backend, other, kernel, host, own, mount, unmount } = await twoPools()
    await own(id, backend)
    const reads = vi.spyOn(other, 'readRecord').mockImplementation(read)
    await mount(id)
    expect(kernel.ownMountAt(host.mountPath(id))).toBeDefined()
    await unmount(id)
    expect(kernel.ownMountAt(host.mountPath(id))).toBeUndefined()
    expect(reads).toHaveBeenCalled()
  },
)

test('of a pool that hangs one read waits, however many volumes are mounted meanwhile', async () => {
  const { backend, other, own, mount } = await twoPools()
  await own(id, backend)
  await own(second, backend)
  const reads = vi.spyOn(other, 'readRecord').mockImplementation(() => new Promise(() => {}))
  await Promise.all([mount(id), mount(second), mount(id, 'c2')])
  await mount(second, 'c2')
  expect(reads).toHaveBeenCalledTimes(1)
})

test.each(ways)(
  'a pool that %s and holds a copy stops the Mount of that volume only, and no Unmount',
  async (_, read) => {
    const { backend, other, kernel, host, own, mount, unmount } = await twoPools()
    await own(id, backend)
    await own(id, other, { role: 'replica' })
    await own(second, backend)
    await mount(id)
    vi.spyOn(other, 'readRecord').mockImplementation(read)
    await expect(mount(id, 'c2')).rejects.toMatchObject({ code: 'POOL_UNREACHABLE' })
    host.mounts.remove(id, 'c2')
    await mount(second)
    await unmount(id)
    expect(kernel.ownMountAt(host.mountPath(id))).toBeUndefined()
  },
)

test.each(ways)('a volume of this host that no other pool has is not mounted while its pool %s', async (_, read) => {
  const { other, own, table, mount, unmount } = await twoPools()
  await own(id, other)
  await table(1)
  vi.spyOn(other, 'readRecord').mockImplementation(read)
  await expect(mount(id)).rejects.toMatchObject({
    code: 'POOL_UNREACHABLE',
    message: expect.stringContaining('volume db is left as it is on host host1: pool btrfs:/other'),
  })
  await expect(unmount(id)).rejects.toMatchObject({ code: 'POOL_UNREACHABLE' })
})

test('an owner that the table of names has passed is not mounted while another pool is silent', async () => {
  const { backend, other, own, table, mount } = await twoPools()
  await own(id, backend, { epoch: 1 })
  await table(2)
  vi.spyOn(other, 'readRecord').mockRejectedValue(new Error('EIO'))
  await expect(mount(id)).rejects.toMatchObject({ code: 'POOL_UNREACHABLE' })
})

test('a record that cannot be understood stops the volume that it is of', async () => {
  const { backend, other, own, mount } = await twoPools()
  await own(id, backend)
  vi.spyOn(other, 'readRecord').mockRejectedValue(new DroverError('DATASET_FOREIGN', 'newer'))
  await expect(mount(id)).rejects.toMatchObject({ code: 'DATASET_FOREIGN' })
})

test('what needs every pool, such as a removal or a move, does nothing while one is silent', async () => {
  const { host, backend, other, own } = await twoPools()
  await own(id, backend)
  vi.spyOn(other, 'readRecord').mockImplementation(() => new Promise(() => {}))
  await expect(host.copies(id)).rejects.toMatchObject({ code: 'POOL_UNREACHABLE' })
  expect((await host.inPool('btrfs:/pool').held(id))?.record.role).toBe('owner')
})

test('of a pool that hangs one list waits, and nobody waits for it for ever', async () => {
  const { backend, other, host, own, mount } = await twoPools()
  await own(id, backend)
  expect((await host.allHeld()).map(({ record }) => record.volumeId)).toEqual([id])
  const lists = vi.spyOn(other, 'list').mockImplementation(() => new Promise(() => {}))
  const reads = vi.spyOn(other, 'readRecord')
  const unreachable = { code: 'POOL_UNREACHABLE', message: expect.stringContaining('btrfs:/other') }
  await Promise.all([1, 2].map(() => expect(host.allHeld()).rejects.toMatchObject(unreachable)))
  await expect(host.allHeld()).rejects.toMatchObject(unreachable)
  expect(lists).toHaveBeenCalledTimes(1)
  // Nor is a thread spent on a read behind it.
  await mount(id)
  expect(reads).not.toHaveBeenCalled()
})

test.each(ways)('who asks since when others own it is told by the pools that answer, when one %s', async (_, read) => {
  const { backend, other, host, own } = await twoPools()
  await own(id, backend, { epoch: 7 })
  vi.spyOn(other, 'readRecord').mockImplementation(read)
  expect(await heardHere(host, id, hostId('x'.repeat(26)))).toBe(7)
})
