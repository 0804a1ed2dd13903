import { expect, test } from 'vitest'
import type { DatasetRecord, SnapshotRecord } from '../../../src/domain/dataset.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { discardReplica } from '../../../src/migrate/verification/kept-copies.ts'
import { recordOf } from '../../contract/backend-bench.ts'
import { memoryHost } from '../../support/memory-host.ts'

const id = volumeId('v'.repeat(26))
const snapshot: SnapshotRecord = {
  ...{ name: 's', uuid: 'u', streamUuid: 'u', generation: 1, createdAt: '', origin: 'move' },
}
const differing: Partial<DatasetRecord> = { role: 'replica', snapshots: [{ ...snapshot, differs: true }] }

/** A copy in each pool of one host. */
const held = async (here: Partial<DatasetRecord>, there: Partial<DatasetRecord>) => {
  const memory = await memoryHost({ twoPools: true })
  const { host, backend, other } = memory
  for (const [pool, part] of [
    [backend, here],
    [other, there],
  ] as const) {
    await pool.writeRecord({ ...recordOf(id, pool), ...host.identity, ...part })
  }
  const left = async () => (await host.copies(id)).map(({ backend: { spec } }) => spec.text)
  return { host, left }
}

test.each<[string, Partial<DatasetRecord>]>([
  ['an owner', { role: 'owner', epoch: 5 }],
  ['a newer replica', { role: 'replica', epoch: 5 }],
  ['what arrives', { role: 'receiving', epoch: 5 }],
])('a replica that differs is discarded beside %s, which stays', async (_, beside) => {
  const { host, left } = await held(beside, differing)
  await discardReplica(host, id)
  expect(await left()).toEqual(['btrfs:/pool'])
})

test('what does not differ, is in a move, or is an owner is left alone', async () => {
  for (const part of [{ ...differing, moveId: 'm' }, { role: 'replica' }, { ...differing, role: 'owner' }]) {
    const { host, left } = await held(part as Partial<DatasetRecord>, { role: 'replica', epoch: 5 })
    await expect(discardReplica(host, id)).rejects.toMatchObject({ code: 'CONTENT_DIFFERS' })
    expect((await left()).length).toBe(2)
  }
})
