import { expect, test } from 'vitest'
import type { Backend } from '../../../src/backends/backend.ts'
import { encodeRecord, understood } from '../../../src/backends/zfs/records.ts'
import { volumeId } from '../../../src/domain/ids.ts'
import { recordOf } from '../../contract/backend-bench.ts'

const id = volumeId('v'.repeat(26))
const backend = { spec: { kind: 'zfs', where: 'tank/drover', text: 'zfs:tank/drover' } } as unknown as Backend
const record = recordOf(id, backend)
const long = { ...record, labels: { note: 'ü\n\t"'.repeat(4000) } }

const readBack = (properties: Record<string, string>) => understood(id, new Map(Object.entries(properties)))

test.each([
  ['short', record],
  ['longer than a property may be', long],
])('a record that is %s comes back whole', (_, each) => {
  const properties = encodeRecord(each)
  for (const value of Object.values(properties)) expect(value).toMatch(/^[\x20-\x7e]{1,8191}$/)
  expect(readBack(properties)).toEqual(each)
})

test('what a longer record before it left behind does not count', () => {
  expect(readBack({ ...encodeRecord(long), ...encodeRecord(record) })).toEqual(record)
})

test('no record, or one that is not ours', () => {
  const properties = encodeRecord(record)
  const head = properties['drover:record'] ?? ''
  expect(understood(id, undefined)).toBeNull()
  expect(readBack({ 'drover:volume': id })).toBeNull()
  expect(readBack({ ...properties, 'drover:record': head.replace(/^1/, '2') })).toMatchObject({
    problem: expect.stringContaining('newer'),
  })
  expect(readBack({ 'drover:record': head })).toMatchObject({ problem: expect.stringContaining('not whole') })
  expect(readBack({ ...properties, 'drover:record': 'x' })).toMatchObject({ problem: expect.any(String) })
  expect(understood(volumeId('w'.repeat(26)), new Map(Object.entries(properties)))).toMatchObject({
    problem: expect.stringContaining('not of this volume'),
  })
})
