import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseReport } from '../../../src/backends/block/lvm/lvm-command.ts'
import { parsePoolStatus } from '../../../src/backends/block/lvm/mapper-command.ts'
import { mapped, parseThinPool } from '../../../src/backends/block/lvm/names.ts'
import { checkPool } from '../../../src/backends/block/lvm/pool-check.ts'
import { deltaRanges, digestOf, dumpedRanges } from '../../../src/backends/block/lvm/thin-metadata.ts'
import { takeRanges, writeRanges } from '../../../src/backends/block/range-list.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const linesOf = async function* (text: string): AsyncGenerator<string, void> {
  yield* text.split('\n')
}

const collect = async <T>(items: AsyncIterable<T>): Promise<T[]> => {
  const found: T[] = []
  for await (const item of items) found.push(item)
  return found
}

const delta = `<superblock uuid="" time="1" transaction="2" data_block_size="128" nr_data_blocks="0">
  <diff left="1" right="2">
    <same begin="0" length="5"/>
    <different begin="5" length="2"/>
    <left_only begin="7" length="1"/>
    <same begin="8" length="4"/>
    <right_only begin="12" length="1"/>
  </diff>
</superblock>`

const dump = (mappings: string, snapTime = 1) =>
  `<superblock uuid="" time="1" transaction="2" version="2" data_block_size="128" nr_data_blocks="0">
  <device dev_id="2" mapped_blocks="77" transaction="1" creation_time="1" snap_time="${snapTime}">
${mappings}
  </device>
</superblock>`

test('thin_delta: all that is not the same', async () => {
  expect(await collect(deltaRanges(linesOf(delta), 10))).toEqual([
    { start: 50, end: 70 },
    { start: 70, end: 80 },
    { start: 120, end: 130 },
  ])
})

test('thin_dump: what is mapped', async () => {
  const text = dump(`    <range_mapping origin_begin="0" data_begin="68" length="4" time="0"/>
    <single_mapping origin_block="4" data_block="1" time="0"/>`)
  expect(await collect(dumpedRanges(linesOf(text), 10))).toEqual([
    { start: 0, end: 40 },
    { start: 40, end: 50 },
  ])
})

test('a digest of where chunks lie: the same however runs are put together, another when one moved or was written anew', async () => {
  const digest = async (mappings: string) => (await digestOf(linesOf(dump(mappings))))?.digest
  const whole = await digest('<range_mapping origin_begin="0" data_begin="68" length="2" time="0"/>')
  const parts = await digest(
    '<single_mapping origin_block="0" data_block="68" time="0"/>\n<single_mapping origin_block="1" data_block="69" time="0"/>',
  )
  expect(parts).toBe(whole)
  expect(await digest('<range_mapping origin_begin="0" data_begin="67" length="2" time="0"/>')).not.toBe(whole)
  expect(await digest('<range_mapping origin_begin="0" data_begin="68" length="2" time="1"/>')).not.toBe(whole)
  expect(await digest('<single_mapping origin_block="0" data_block="68" time="0"/>')).not.toBe(whole)
})

test('a device written to after its last snapshot could be written over', async () => {
  const of = (time: number, snapTime: number) =>
    digestOf(linesOf(dump(`<single_mapping origin_block="0" data_block="6" time="${time}"/>`, snapTime)))
  expect(await of(0, 1)).toMatchObject({ isCopiedOnWrite: true })
  expect(await of(1, 1)).toMatchObject({ isCopiedOnWrite: false })
  expect(await digestOf(linesOf('<superblock></superblock>'))).toBeNull()
})

test('the status of a pool', () => {
  const table = '0 2097152 thin-pool 253:0 253:1 128 1024 1 error_if_no_space\n'
  const status = (held: string) => `0 2097152 thin-pool 2 421/4096 77/16384 ${held} rw discard_passdown - 1024\n`
  expect(parsePoolStatus(status('34'), table)).toEqual({
    ...{ totalChunks: 16_384, usedChunks: 77, chunkBytes: 65_536, isHeld: true, mode: 'rw' },
  })
  expect(parsePoolStatus(status('-'), table).isHeld).toBe(false)
})

const row = {
  ...{ lv_name: 'thin', lv_tags: '', lv_size: '1073741824', pool_lv: '', lv_permissions: 'writeable' },
  ...{ lv_active: 'active', segtype: 'thin-pool', lv_when_full: 'error', zero: 'zero' },
  vg_extent_size: '4194304',
}
const report = (over: object) => parseReport(JSON.stringify({ report: [{ lv: [{ ...row, ...over }] }] }))[0] ?? null
const pool = parseThinPool(parsePoolSpec('lvm:vg-0/thin'))

test.each(['lvm:vg/thin', 'lvm:vg-0/thin.1?fs=ext4', 'lvm:vg/thin?fs=xfs'])('%s names a thin pool', (spec) => {
  expect(parseThinPool(parsePoolSpec(spec)).spec).toBe(spec)
})

test.each([
  'lvm:vg',
  'lvm:vg/thin/more',
  'lvm:/dev/vg',
  'lvm:vg/..',
  'lvm:vg/thin?fs=btrfs',
  `lvm:${'g'.repeat(60)}/thin`,
])('%s: BAD_CONFIG in one line', (spec) => {
  expect(() => parseThinPool(parsePoolSpec(spec))).toThrow(
    expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringMatching(/^pool lvm:.*[a-z;:]/) }),
  )
})

test('volumes as lvs tells them', () => {
  const over = { lv_name: 'drover.x', lv_tags: 'drover,drover.volume.x', pool_lv: 'thin' }
  expect(report({ ...over, lv_permissions: 'read-only' })).toMatchObject({
    ...{ name: 'drover.x', tags: ['drover', 'drover.volume.x'], pool: 'thin', isReadOnly: true },
  })
  expect(report({})).toMatchObject({ tags: [], isReadOnly: false, extentBytes: 4_194_304 })
  expect(mapped('vg-0', 'a-b')).toBe('vg--0-a--b')
})

test.each([
  [{ lv_when_full: 'queue' }, 'lvchange --errorwhenfull y vg-0/thin'],
  [{ zero: '' }, 'lvchange --zero y vg-0/thin'],
  [{ segtype: 'linear' }, 'no thin pool'],
  [{ lv_active: '' }, 'lvchange -ay vg-0/thin'],
])('a pool with %j is refused, with what to do', (over, what) => {
  expect(() => checkPool(pool, report(over))).toThrow(
    expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringContaining(what) }),
  )
})

test('ranges in a file: neighbours as one, cut at the size, read once', async () => {
  const path = join(await temporaryDirectory(), 'ranges')
  const many = Array.from({ length: 9_000 }, (_, index) => ({ start: index * 10, end: index * 10 + 5 }))
  const given = async function* () {
    yield* many
    yield { start: 90_000, end: 90_010 }
    yield { start: 90_010, end: 90_020 }
  }
  await writeRanges(path, given())
  expect([...takeRanges(path, 90_015)]).toEqual([...many, { start: 90_000, end: 90_015 }])
  await writeFile(path, '')
  expect([...takeRanges(path, 1)]).toEqual([])
  expect(() => [...takeRanges(path, 1)]).toThrow('ENOENT')
})
