import { expect, test } from 'vitest'
import type { SnapshotRecord } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { intactOf } from '../../../src/migrate/move-snapshots.ts'
import { noteUnprovedBase } from '../../../src/migrate/unproved-base.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const id = volumeId('v'.repeat(26))
const args = { volumeId: id, stream: 'tree' as const }

/** A target that has two bases, and a source beside it that has the same ones. */
const world = async () => {
  const { host, backend, other } = await memoryHost({ twoPools: true })
  const snapshots: SnapshotRecord[] = []
  for (const pool of [backend, other]) {
    await pool.writeRecord({ ...recordOf(id, pool), ...host.identity })
    await pool.create(id, { sizeBytes: null })
  }
  for (const name of ['one', 'two']) {
    const made = await backend.snapshots.create(id, name, 'move')
    snapshots.push({ ...made, treeUuid: `tree ${name}` })
  }
  const record = { ...recordOf(id, backend), ...host.identity, role: 'replica' as const, snapshots }
  await backend.writeRecord(record)
  await other.writeRecord({ ...recordOf(id, other), ...host.identity, epoch: 5, snapshots })
  const bases = async () => {
    const found = await host.copyIn(backend, id)
    return found === null ? [] : (await intactOf(found)).map(({ name }) => name)
  }
  return { host, bases, sources: async () => (await other.readRecord(id))?.snapshots }
}

const failed = new DroverError(
  'STREAM_FAILED',
  'receive ended with exit status 1: what was written is not what was sent: ...',
)

test('a base upon which something else arrived than was sent is none any more; the other one is', async () => {
  const { host, bases, sources } = await world()
  const before = await sources()
  await noteUnprovedBase(host, { ...args, baseUuid: 'tree one' }, failed)
  expect(await bases()).toEqual(['two'])
  expect(await sources()).toEqual(before)
})

test('of any other failure a base is not to blame', async () => {
  const { host, bases } = await world()
  await noteUnprovedBase(host, { ...args, baseUuid: 'tree one' }, new DroverError('STREAM_FAILED', 'the link broke'))
  await noteUnprovedBase(host, { ...args, baseUuid: null }, failed)
  await noteUnprovedBase(host, { ...args, stream: 'native', baseUuid: 'tree one' }, failed)
  expect(await bases()).toEqual(['one', 'two'])
})
