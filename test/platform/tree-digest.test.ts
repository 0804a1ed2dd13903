import { chmod, chown, lutimes, mkdir, open, rm, stat, symlink, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { items } from '../../src/lib/tree-digest/items.ts'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'
import { digestOf } from '../support/tree-digest.ts'
import { plantTree } from '../support/volume-tree.ts'
import { setXattr } from '../support/xattr.ts'

let pool: LoopBtrfs
const at = (...names: string[]) => join(pool.path, ...names)
let count = 0

beforeAll(async () => {
  pool = await loopBtrfs()
  await sh('btrfs', 'subvolume', 'create', at('live'))
  await mkdir(at('live/data'))
  await plantTree(at('live/data'))
  await sh('mknod', at('live/data/device'), 'c', '1', '3')
  await symlink('../nowhere', at('live/data/symlink2'))
  setXattr(at('live/data/symlink2'), 'trusted.of-a-link', 'x')
  setXattr(at('live/data/owned'), 'system.posix_acl_access', acl(7))
  setXattr(at('live/data/empty'), 'system.posix_acl_default', acl(5))
  const perl = 'use Socket; socket(S, PF_UNIX, SOCK_STREAM, 0) or die; bind(S, sockaddr_un($ARGV[0])) or die "$!"'
  await sh('perl', '-e', perl, at('live/data/socket'))
  await sh('btrfs', 'subvolume', 'snapshot', '-r', at('live'), at('planted'))
})
afterAll(() => pool?.dispose())

/** user::rw-, user:1000:`rights`, group::r--, mask::rwx, other::r-- as the kernel keeps it. */
function acl(rights: number): Buffer {
  const entries: [number, number, number][] = [
    [1, 6, 0xffffffff],
    [2, rights, 1000],
    [4, 4, 0xffffffff],
    [16, 7, 0xffffffff],
    [32, 4, 0xffffffff],
  ]
  const bytes = Buffer.alloc(4 + 8 * entries.length)
  bytes.writeUInt32LE(2)
  for (const [index, [tag, mode, id]] of entries.entries()) {
    bytes.writeUInt16LE(tag, 4 + 8 * index)
    bytes.writeUInt16LE(mode, 6 + 8 * index)
    bytes.writeUInt32LE(id, 8 + 8 * index)
  }
  return bytes
}

/** A writable copy of what was planted. */
const copy = async (): Promise<string> => {
  const path = at(`copy-${count++}`)
  await sh('btrfs', 'subvolume', 'snapshot', at('planted'), path)
  return path
}

test('what was sent and received, in full and upon a base, has the digest of what was sent', async () => {
  for (const side of ['from', 'to']) await mkdir(at(side))
  const ship = async (name: string, base: string[]): Promise<void> => {
    await sh('btrfs', 'subvolume', 'snapshot', '-r', at('live'), at('from', name))
    await sh(
      'sh',
      '-c',
      'set -e; to=$1; shift; btrfs send -q "$@" >"$to.stream"',
      '-',
      at('stream'),
      ...base,
      at('from', name),
    )
    await sh('btrfs', 'receive', '-q', '-f', at('stream.stream'), at('to'))
    expect(digestOf(at('to', name))).toBe(digestOf(at('from', name)))
  }
  await ship('one', [])
  await sh(
    'sh',
    '-c',
    `cd ${at('live/data')} && mv plain deep/ && rm -r empty && chown 7:8 setuid && cp deep/er/est/file new`,
  )
  setXattr(at('live/data/new'), 'user.new', Buffer.alloc(3000, 1))
  await ship('two', ['-p', at('from', 'one')])
  await sh('btrfs', 'property', 'set', at('live/data/new'), 'compression', 'zstd')
  const before = digestOf(at('from/two'))
  expect(digestOf(at('live'))).toBe(before)
})

describe('any single change is another digest', () => {
  const regular = (top: string) => [...items(top)].filter(({ traits }) => traits.type === 'file' && traits.link === '')
  const placeOf = (top: string, path: Buffer) => Buffer.concat([Buffer.from(`${top}/`), path])
  const keepingTimes = async (path: Buffer, change: () => Promise<unknown>): Promise<void> => {
    const { mtimeNs } = await stat(path, { bigint: true })
    await change()
    await sh('touch', '-d', `@${mtimeNs / 10n ** 9n}.${String(mtimeNs % 10n ** 9n).padStart(9, '0')}`, path.toString())
  }

  test.each<[string, (top: string) => Promise<unknown>]>([
    ['owner', (top) => chown(join(top, 'data/deep'), 1, 0)],
    ['group', (top) => chown(join(top, 'data/owned'), 1234, 5679)],
    ['setuid', (top) => chmod(join(top, 'data/setuid'), 0o755)],
    ['sticky', (top) => chmod(join(top, 'data/empty'), 0o777)],
    ['value of an attribute', async (top) => setXattr(join(top, 'data/plain'), 'user.drover', 'kepu')],
    ['a further attribute', async (top) => setXattr(join(top, 'data/deep'), 'user.x', '')],
    ['attribute of a link', async (top) => setXattr(join(top, 'data/symlink2'), 'trusted.of-a-link', 'y')],
    ['ACL', async (top) => setXattr(join(top, 'data/owned'), 'system.posix_acl_access', acl(6))],
    ['default ACL', async (top) => setXattr(join(top, 'data/empty'), 'system.posix_acl_default', acl(4))],
    [
      'device number',
      (top) => rm(join(top, 'data/device')).then(() => sh('mknod', join(top, 'data/device'), 'c', '1', '5')),
    ],
    [
      'device type',
      (top) => rm(join(top, 'data/device')).then(() => sh('mknod', join(top, 'data/device'), 'b', '1', '3')),
    ],
    ['a socket gone', (top) => unlink(join(top, 'data/socket'))],
    ['a fifo gone', (top) => unlink(join(top, 'data/fifo'))],
    ['mode of the top', (top) => chmod(top, 0o700)],
  ])('%s', async (_, change) => {
    const top = await copy()
    const before = digestOf(top)
    await change(top)
    expect(digestOf(top)).not.toBe(before)
  })

  test('a link keeps its digest whatever its times', async () => {
    const top = await copy()
    const before = digestOf(top)
    await lutimes(join(top, 'data/symlink2'), 1, 1)
    expect(digestOf(top)).toBe(before)
  })

  test('a bit anywhere in any file', async () => {
    const top = await copy()
    const before = digestOf(top)
    const files = regular(top).filter(({ traits }) => Number(traits.size) > 0)
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        fc.nat(7),
        async (which, where, bit) => {
          const file = files[which % files.length]
          if (file === undefined) throw new Error('no files')
          const path = placeOf(top, file.path)
          const offset = Math.floor(Number(file.traits.size) * where)
          const flip = async () => {
            const handle = await open(path, 'r+')
            const byte = Buffer.alloc(1)
            await handle.read(byte, 0, 1, offset)
            byte[0] = (byte[0] ?? 0) ^ (1 << bit)
            await handle.write(byte, 0, 1, offset)
            await handle.close()
          }
          await keepingTimes(path, flip)
          expect(digestOf(top)).not.toBe(before)
          await keepingTimes(path, flip)
        },
      ),
      { numRuns: 15 },
    )
    expect(digestOf(top)).toBe(before)
  })
})
