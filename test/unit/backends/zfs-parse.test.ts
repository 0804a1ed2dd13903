import { expect, test } from 'vitest'
import { readInventory } from '../../../src/backends/zfs/inventory.ts'
import { checkName, Names } from '../../../src/backends/zfs/names.ts'
import { guidOf, parseRows, parseVersions, readToken, wholeNumber } from '../../../src/backends/zfs/parse.ts'
import { volumeId } from '../../../src/domain/ids.ts'

// What is quoted here was printed by OpenZFS 2.3.9 of Debian 13.

test('versions: programs and module', () => {
  expect(parseVersions('zfs-2.3.9-0+deb13u1\nzfs-kmod-2.3.9-0+deb13u1\n')).toEqual({ programs: [2, 3], module: [2, 3] })
  expect(() => parseVersions('zpool 28')).toThrow('is not understood')
})

test('rows and numbers', () => {
  expect(parseRows('tank/v/live\twritten@a\t14848\tlocal\ntank/v/live\twritten\t14848\t-\n')).toEqual([
    ['tank/v/live', 'written@a', '14848', 'local'],
    ['tank/v/live', 'written', '14848', '-'],
  ])
  expect(parseRows('')).toEqual([])
  expect(wholeNumber('zfs get', '14848')).toBe(14848)
  expect(() => wholeNumber('zfs get', '-')).toThrow('is not understood')
  expect(guidOf('zfs get', '10299740181669529964')).toBe('10299740181669529964')
})

test('a resume token names both snapshots', () => {
  const text = "     object: 3\n     toguid: 10299740181669529964\n     toname: 'tank/v/live@s'\n     fromguid: 31\n"
  expect(readToken(text)).toEqual({ toGuid: '10299740181669529964', fromGuid: '31' })
  expect(readToken('     toguid: 1\n')).toEqual({ toGuid: '1', fromGuid: null })
  expect(() => readToken('nothing\n')).toThrow('names no snapshot')
})

const id = volumeId('v'.repeat(26))
const names = new Names('tank')

test('what there is of a volume', () => {
  const text = [
    `tank/${id}\t10299740181669529964\t6\t1795791764\t-\t24576\toff`,
    `tank/${id}/kept-1\t1\t20\t1795791764\t-\t24576\toff`,
    `tank/${id}/kept-1@s1\t11\t25\t1795791770\ttank/${id}/live\t24576\toff`,
    `tank/${id}/kept-1@drover-gone-7\t12\t26\t1795791770\t\t24576\toff`,
    `tank/${id}/live\t81996646408276962\t171\t1795791808\t-\t24576\toff`,
    `tank/${id}/live@s0\t13\t22\t1795791769\t\t24576\toff`,
    `tank/${id}/live#s0\t13\t22\t1795791769\t-\t24576\toff`,
    `tank/${id}/live/data\t14\t23\t1795791769\t-\t24576\toff`,
    `tank/${id}/live/data@theirs\t15\t23\t1795791769\t\t24576\toff`,
    `tank/${id}/partial-m0\t17\t30\t1795791769\t-\t24576\toff`,
    `tank/${id}/partial-m1\t18\t30\t1795791769\t-\t24576\toff`,
    `tank/${id}/partial-m1/snap\t19\t30\t1795791769\t-\t24576\toff`,
    `tank/${id}/partial-m1/snap@drover-arriving\t16\t30\t1795791769\t\t24576\toff`,
    `tank/${id}/partial-m1/snap@theirs-of-all\t20\t31\t1795791770\t\t24576\toff`,
    `tank/${id}/partial-m1@theirs-of-all\t21\t31\t1795791770\t\t24576\toff`,
  ].join('\n')
  const found = readInventory(parseRows(text), names, id)
  expect(found.datasets).toEqual([`tank/${id}/kept-1`, `tank/${id}/live`])
  expect(found.snapshots.map(({ name, dataset, guid }) => [name, dataset, guid])).toEqual([
    ['s0', `tank/${id}/live`, '13'],
    ['s1', `tank/${id}/kept-1`, '11'],
  ])
  expect(found.snapshots[1]).toMatchObject({ clones: [`tank/${id}/live`], createdAt: '2026-11-27T15:02:50.000Z' })
  expect(found.bookmarks).toEqual([{ name: 's0', dataset: `tank/${id}/live`, guid: '13' }])
  expect([...found.partials].map(([name, arrived]) => [name, arrived?.guid ?? null])).toEqual([
    ['m0', null],
    ['m1', '16'],
  ])
  expect(found.isEncrypted).toBe(false)
})

test('a volume is encrypted as its own dataset is', () => {
  const text = `tank/${id}\t1\t6\t1795791764\t-\t24576\taes-256-gcm`
  expect(readInventory(parseRows(text), names, id).isEncrypted).toBe(true)
})

test.each(['..', 'a/b', '', '-x', '.hidden', 'drover-arriving', 'x'.repeat(101), 'a@b'])(
  'name %j is refused',
  (name) => {
    expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'BAD_NAME' }))
  },
)
