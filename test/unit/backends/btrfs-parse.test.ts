import { expect, test } from 'vitest'
import {
  parseList,
  parseMarker,
  parseQgroups,
  parseShow,
  parseStreamHead,
  parseVersion,
} from '../../../src/backends/btrfs/parse.ts'

const show = `outer/pool/live
\tName: \t\t\tlive
\tUUID: \t\t\tea460e49-e087-0e40-80b5-9cf2aac1d7b5
\tParent UUID: \t\t-
\tReceived UUID: \t\t-
\tCreation time: \t\t2026-11-23 20:52:41 +0100
\tSubvolume ID: \t\t256
\tGeneration: \t\t33
\tGen at creation: \t7
\tParent ID: \t\t5
\tTop level ID: \t\t5
\tFlags: \t\t\treadonly
\tSend transid: \t\t0
\tSend time: \t\t2026-11-23 20:52:41 +0000
\tReceive transid: \t0
\tReceive time: \t\t-
\tSnapshot(s):
\t\t\t\tv/UUID: \t\tfalse
\tQuota group:\t\t0/256
\t  Limit referenced:\t104857600
\t  Limit exclusive:\t-
\t  Usage referenced:\t16384
\t  Usage exclusive:\t16384
`

test('show', () => {
  expect(parseShow(show)).toEqual({
    id: 256,
    uuid: 'ea460e49-e087-0e40-80b5-9cf2aac1d7b5',
    parentUuid: null,
    receivedUuid: null,
    generation: 33,
    bornGeneration: 7,
    readOnly: true,
    limitBytes: 104857600,
  })
  expect(parseShow(show.replace('104857600', '-')).limitBytes).toBeNull()
  expect(parseShow(show.replace('readonly', '-')).readOnly).toBe(false)
})

test.each([
  ['no UUID', show.replace(/\tUUID:.*\n/, '')],
  ['a UUID that is none', show.replace('ea460e49', 'zzzzzzzz')],
  ['no generation', show.replace('\t33', '\tmany')],
  ['nothing', ''],
])('show with %s is refused, not guessed', (_, text) => {
  expect(() => parseShow(text)).toThrow(/not understood/)
})

test('list: paths with newlines, paths from outside', () => {
  const text =
    'ID 256 gen 7 top level 5 path <FS_TREE>/outer\nID 257 gen 8 top level 256 path a/new\nline\nID 258 gen 9 top level 5 path b\n'
  expect(parseList(text)).toEqual([
    { id: 256, generation: 7, path: 'outer' },
    { id: 257, generation: 8, path: 'a/new\nline' },
    { id: 258, generation: 9, path: 'b' },
  ])
  expect(parseList('')).toEqual([])
  expect(() => parseList('what?\n')).toThrow(/not understood/)
})

test('qgroups: only those of single subvolumes', () => {
  const text =
    'Qgroupid    Referenced    Exclusive  Max referenced   Path \n--------    ----------    ---------  --------------   ---- \n0/256            16384        4096       104857600   v/live\n1/7   1 1 none\n'
  expect(parseQgroups(text)).toEqual([{ subvolumeId: 256, referencedBytes: 16384 }])
})

test('marker', () => {
  expect(parseMarker('inode 1 file transid marker was 3\ntransid marker was 35\n')).toBe(35)
  expect(() => parseMarker('')).toThrow(/not understood/)
})

/** The first bytes of a real stream: snapshot "s3" of UUID 1eea39c9..., last changed in transaction 10. */
const head = Buffer.from(
  '62747266732d73747265616d0001000000260000000100563cbd670f0002007333010010001eea39c99dab494d88c06e81b12095c2020008000a00000000000000',
  'hex',
)

test('stream head', () => {
  expect(parseStreamHead(head)).toEqual({ uuid: '1eea39c9-9dab-494d-88c0-6e81b12095c2', changed: 10 })
  for (let length = 0; length < head.length; length += 1) expect(parseStreamHead(head.subarray(0, length))).toBeNull()
  expect(() => parseStreamHead(Buffer.alloc(64))).toThrow(/not understood/)
})

test.each([
  ['btrfs-progs v6.2 \n', { major: 6, minor: 2 }],
  ['btrfs-progs v5.10.1\n-EXPERIMENTAL\n', { major: 5, minor: 10 }],
  ['something else\n', null],
])('the version of btrfs-progs: %j', (stdout, expected) => {
  expect(parseVersion(stdout)).toEqual(expected)
})
