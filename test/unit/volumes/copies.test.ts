import { expect, test } from 'vitest'
import type { ContainerRuntime } from '../../../src/containers/runtime.ts'
import type { DatasetRecord } from '../../../src/domain/dataset.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { FirstMount } from '../../../src/volumes/first-mount.ts'
import { removeVolume } from '../../../src/volumes/lifecycle.ts'
import { mountOwned } from '../../../src/volumes/mounting.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const id = volumeId('v'.repeat(26))
type Part = Partial<DatasetRecord>

/** One volume, a copy in each pool. */
const held = async (here: Part, there: Part) => {
  const memory = await memoryHost({ twoPools: true })
  const { host, backend, other } = memory
  for (const [pool, part] of [
    [backend, here],
    [other, there],
  ] as const) {
    await pool.writeRecord({ ...recordOf(id, pool), ...host.identity, ...part })
  }
  const firstMount = await FirstMount.open('/data', async () => 0, host.machine)
  return { ...memory, firstMount }
}

test.each<[string, Part, Part]>([
  ['an owner before what arrives', { role: 'owner', epoch: 1 }, { role: 'prepared', epoch: 0 }],
  ['a released source before what arrives', { role: 'released', epoch: 1 }, { role: 'receiving', epoch: 0 }],
  ['the target that took over before the source', { role: 'owner', epoch: 2 }, { role: 'released', epoch: 1 }],
  [
    'an owner before an older one of a pool that was put back',
    { role: 'owner', epoch: 4 },
    { role: 'owner', epoch: 2 },
  ],
  ['what arrives before a replica', { role: 'receiving', epoch: 0 }, { role: 'replica', epoch: 3 }],
  [
    'a replica before what was superseded, whatever its epoch',
    { role: 'replica', epoch: 2 },
    { role: 'diverged', epoch: 3 },
  ],
])('of two copies on one host counts %s', async (_, counts, other) => {
  for (const [here, there, pool] of [
    [counts, other, 'btrfs:/pool'],
    [other, counts, 'btrfs:/other'],
  ] as const) {
    const { host } = await held(here, there)
    expect((await host.held(id))?.backend.spec.text).toBe(pool)
    expect((await host.inPool('btrfs:/other').copies(id)).map(({ record }) => record.role)).toEqual([there.role])
    expect((await host.inPool('btrfs:/other').heldBeside(id)).map(({ record }) => record.role)).toEqual([here.role])
  }
})

test('a record that is bound elsewhere counts for nothing beside one of this host', async () => {
  const { host } = await held({ role: 'owner', epoch: 9, pool: 'btrfs:/elsewhere' }, { role: 'replica', epoch: 1 })
  expect((await host.held(id))?.record.role).toBe('replica')
})

test('an owner is not mounted where another copy here is of a higher epoch', async () => {
  const { host, backend, firstMount } = await held({ role: 'owner', epoch: 2 }, { role: 'replica', epoch: 3 })
  const { uuid } = await backend.create(id, { sizeBytes: null })
  const record = (await backend.readRecord(id)) ?? expect.fail('no record')
  await backend.writeRecord({ ...record, datasetUuid: uuid })
  await expect(mountOwned(host, firstMount, id, 'c1')).rejects.toMatchObject({ code: 'VOLUME_FENCED' })
})

test('a removal takes replicas in other pools along, and never what was superseded', async () => {
  const runtime = { usersOf: async () => [] } as Partial<ContainerRuntime> as ContainerRuntime
  const remove = async (there: Part) => {
    const { host, backend, other } = await held({ role: 'owner', epoch: 5 }, there)
    await removeVolume(host, runtime, { volumeId: id, force: true })
    expect(await backend.readRecord(id)).toBeNull()
    return other.readRecord(id)
  }
  expect(await remove({ role: 'replica', epoch: 3 })).toBeNull()
  expect(await remove({ role: 'diverged', epoch: 3 })).toMatchObject({ role: 'diverged' })
})

test('a removal that comes again, for its answer was lost, leaves what was superseded where it is', async () => {
  const runtime = { usersOf: async () => [] } as Partial<ContainerRuntime> as ContainerRuntime
  const { host, backend, other } = await held({ role: 'owner', epoch: 5 }, { role: 'diverged', epoch: 3 })
  for (let time = 0; time < 2; time += 1) await removeVolume(host, runtime, { volumeId: id, force: true })
  expect(await backend.readRecord(id)).toBeNull()
  expect(await other.readRecord(id)).toMatchObject({ role: 'diverged' })
})
