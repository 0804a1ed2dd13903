import { chmod, cp, link, mkdir, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import fc from 'fast-check'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { chunks, itemsOfChunk, printable, treeDigest } from '../../../../src/lib/tree-digest/chunks.ts'
import { items } from '../../../../src/lib/tree-digest/items.ts'
import { sh } from '../../../support/loop-btrfs.ts'
import { temporaryDirectory } from '../../../support/temporary-directory.ts'
import { chunksOf, digestOf } from '../../../support/tree-digest.ts'

const then = new Date('2020-02-03T04:05:06.789Z')
const small = { bytes: 1000, items: 7 }

const plant = async (top: string): Promise<void> => {
  await mkdir(join(top, 'data/deep/er'), { recursive: true })
  await mkdir(join(top, 'data/empty'), { recursive: true })
  await writeFile(join(top, 'data/a'), 'a'.repeat(3500))
  await writeFile(join(top, 'data/a.b'), '')
  await writeFile(join(top, 'data/name\nwith newline'), 'x')
  await writeFile(Buffer.concat([Buffer.from(join(top, 'data/')), Buffer.from([0xff, 0xfe])]), 'not UTF-8')
  await link(join(top, 'data/a'), join(top, 'data/deep/a again'))
  await symlink('../nowhere', join(top, 'data/link'))
  for (let index = 0; index < 20; index += 1) await writeFile(join(top, `data/deep/er/${index}`), `file ${index}`)
  for (const { path, traits } of items(top)) {
    if (traits.type === 'file') await utimes(Buffer.concat([Buffer.from(`${top}/`), path]), then, then)
  }
}

let top: string
beforeEach(async () => {
  top = join(await temporaryDirectory(), 'tree')
  await mkdir(top)
  await plant(top)
})

test('the same tree elsewhere has the same digest, in whatever order it was made', async () => {
  const other = join(top, '../other')
  await mkdir(join(other, 'data/deep/er'), { recursive: true })
  for (let index = 19; index >= 0; index -= 1) await writeFile(join(other, `data/deep/er/${index}`), 'not yet')
  await plant(other)
  expect(digestOf(other)).toBe(digestOf(top))
  expect(digestOf(top, small)).not.toBe(digestOf(top))
})

describe('one change is another digest', () => {
  const file = () => join(top, 'data/deep/er/7')
  test.each<[string, () => Promise<unknown>]>([
    ['a name', () => rename(file(), `${file()}x`)],
    ['a mode', () => chmod(file(), 0o600)],
    ['a time of a file', () => utimes(file(), then, new Date(then.getTime() + 1))],
    [
      'a size, the bytes being zero',
      () => truncate(join(top, 'data/a.b'), 1).then(() => utimes(join(top, 'data/a.b'), then, then)),
    ],
    ['a name more', () => mkdir(join(top, 'data/empty/more'))],
    ['a name less', () => rm(join(top, 'data/empty'), { recursive: true })],
    ['a target', () => rm(join(top, 'data/link')).then(() => symlink('../nowherf', join(top, 'data/link')))],
    [
      'a type',
      () => rm(join(top, 'data/empty'), { recursive: true }).then(() => symlink('x', join(top, 'data/empty'))),
    ],
    [
      'a copy where a hard link was',
      async () => {
        await rm(join(top, 'data/deep/a again'))
        await cp(join(top, 'data/a'), join(top, 'data/deep/a again'), { preserveTimestamps: true })
      },
    ],
  ])('%s', async (_, change) => {
    const before = digestOf(top)
    await change()
    expect(digestOf(top)).not.toBe(before)
  })

  test('any bit of any file', async () => {
    const path = join(top, 'data/bits')
    await fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 1, maxLength: 5000 }),
        fc.nat(),
        fc.integer({ min: 0, max: 7 }),
        async (bytes, at, bit) => {
          await writeFile(path, bytes)
          await utimes(path, then, then)
          const before = digestOf(top, small)
          const flipped = Uint8Array.from(bytes)
          flipped[at % bytes.length] = (flipped[at % bytes.length] ?? 0) ^ (1 << bit)
          await writeFile(path, flipped)
          await utimes(path, then, then)
          expect(digestOf(top, small)).not.toBe(before)
        },
      ),
      { numRuns: 50 },
    )
  })
})

test('the time of a directory and when a file was read are not in it', async () => {
  const before = digestOf(top)
  await utimes(join(top, 'data/deep'), then, then)
  await utimes(join(top, 'data/a'), new Date(), then)
  expect(digestOf(top)).toBe(before)
})

test('taken up at any chunk, also in the middle of a file, it comes out the same', () => {
  const all = chunksOf(top, small)
  expect(all.length).toBeGreaterThan(6)
  expect(all.some(({ start }) => start.segment > 0)).toBe(true)
  for (const [index, { start }] of all.entries()) {
    const rest = [...chunks(top, start, small)]
    expect(rest).toEqual(all.slice(index))
  }
})

test('the items of a chunk are told, and count every name once', () => {
  const all = chunksOf(top, small)
  const listed = all.flatMap(({ start }) => itemsOfChunk(top, start, small))
  expect(listed.map(({ digest }) => digest)).toEqual(
    [...items(top, undefined, small.bytes)].map(({ digest }) => digest),
  )
  expect(all.reduce((sum, { entries }) => sum + entries, 0)).toBe(new Set(listed.map(({ ordinal }) => ordinal)).size)
})

test('deeper than any path may be long', async () => {
  onTestFinished(async () => void (await sh('rm', '-rf', join(top, 'data/empty'))))
  const name = 'd'.repeat(200)
  await sh(
    'perl',
    '-e',
    'chdir $ARGV[0] or die; for (1..30) { mkdir $ARGV[1] or die; chdir $ARGV[1] or die } open(F,">","end") or die',
    join(top, 'data/empty'),
    name,
  )
  const paths = [...items(top)].map(({ path }) => path)
  expect(paths.some((path) => path.length > 6000 && path.toString().endsWith('/end'))).toBe(true)
})

test('a name for a person is told apart from any other', () => {
  expect(printable(Buffer.from('data/größe'))).toBe('data/größe')
  expect(printable(Buffer.from('a\nb'))).toBe('a\\x0ab')
  expect(printable(Buffer.from([0x61, 0xff]))).toBe('a\\xff')
  expect(printable(Buffer.from('a\\x0ab'))).toBe('a\\x5cx0ab')
  expect(printable(Buffer.alloc(0))).toBe('.')
  expect(treeDigest([])).toMatch(/^[0-9a-f]{64}$/)
})
