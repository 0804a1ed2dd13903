import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Membership } from '../../../src/cluster/membership.ts'
import { hasCode } from '../../../src/domain/errors.ts'
import type { Host } from '../../../src/domain/host.ts'
import { clusterId, hostId } from '../../../src/domain/ids.ts'
import { Cleanup } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

const here = clusterId('c'.repeat(26))
const there = clusterId('d'.repeat(26))
const host = (letter: string): Host => ({
  id: hostId(letter.repeat(26)),
  name: `host-${letter}`,
  address: '10.0.0.1:7460',
  dataAddress: '10.0.0.1:7461',
  pools: [],
  control: letter === 'a',
  fingerprint: '',
  joinedAt: '2026-11-23T12:00:00.000Z',
})
const store = (commitSequence: number, term = 0, storeId = 's1') => ({ storeId, term, commitSequence })

let dataDir: string
beforeEach(async () => {
  dataDir = await cleanup.directory()
})
const open = (cluster = here) => Membership.open(dataDir, cluster)

test('knows the members after a restart, without the control role', async () => {
  const first = await open()
  expect(first.members()).toEqual([])
  await first.setMembers([host('a'), host('b')])
  const second = await open()
  expect(second.members()).toEqual([host('a'), host('b')])
  expect(second.byId(host('b').id)?.name).toBe('host-b')
  expect(second.byName('host-a')?.id).toBe(host('a').id)
  expect([second.byId(host('z').id), second.byName('z')]).toEqual([null, null])
  expect((await stat(join(dataDir, 'cluster', 'members.json'))).mode & 0o777).toBe(0o600)
})

test('takes a store that goes forward, and remembers how far it was', async () => {
  const first = await open()
  expect(first.seenStore()).toBeNull()
  for (const sequence of [3, 3, 4, 9]) expect(await first.observe(store(sequence))).toBe('current')
  expect((await open()).seenStore()).toEqual(store(9))
})

test('a store that is behind, or another one, is told, and changes nothing', async () => {
  const members = await open()
  await members.observe(store(9, 1))
  for (const old of [store(8, 1), store(99, 0), store(99, 1, 's2'), store(0, 0, 's2')]) {
    expect(await members.observe(old)).toBe('behind')
  }
  expect((await open()).seenStore()).toEqual(store(9, 1))
})

test('a raised term counts, also of another store, and the old one is behind from then on', async () => {
  const members = await open()
  await members.observe(store(9))
  expect(await members.observe(store(0, 1, 's2'))).toBe('current')
  expect(await members.observe(store(10))).toBe('behind')
  expect((await open()).seenStore()).toEqual(store(0, 1, 's2'))
})

test('many at once end at the furthest', async () => {
  const members = await open()
  await Promise.all([5, 1, 9, 3].map((sequence) => members.observe(store(sequence))))
  expect((await open()).seenStore()).toEqual(store(9))
})

test('nothing of another cluster is kept', async () => {
  const members = await open()
  await members.setMembers([host('a')])
  await members.observe(store(9))
  expect((await open(there)).members()).toEqual([])
  await members.reset(there)
  expect([members.clusterId, members.members(), members.seenStore()]).toEqual([there, [], null])
  expect((await open(there)).seenStore()).toBeNull()
})

test('a file that cannot be read is an error, left as it is', async () => {
  await (await open()).setMembers([host('a')])
  const path = join(dataDir, 'cluster', 'members.json')
  for (const text of ['{', '{"formatVersion":2}']) {
    await writeFile(path, text)
    await expect(open()).rejects.toSatisfy((error) => hasCode(error, 'BAD_CONFIG'))
    expect(await readFile(path, 'utf8')).toBe(text)
  }
})
