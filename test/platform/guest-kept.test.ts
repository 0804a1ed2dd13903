import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { keep, keptDisk } from '../../lab/vm/kept.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

let before: string | undefined
beforeEach(async () => {
  before = process.env.DROVER_LAB_DIR
  process.env.DROVER_LAB_DIR = await temporaryDirectory()
})
afterEach(() => {
  if (before === undefined) delete process.env.DROVER_LAB_DIR
  else process.env.DROVER_LAB_DIR = before
})

const given = async (): Promise<string> => {
  const file = join(await temporaryDirectory(), 'kept.ext4')
  await keptDisk('suites', file)
  return file
}

const write = (file: string, at: number, bytes: readonly number[]): void => {
  const fd = openSync(file, 'r+')
  writeSync(fd, Buffer.from(bytes), 0, bytes.length, at)
  closeSync(fd)
}

/** Where ext4 has no superblock, group or inode: in the boot block. */
const mark = 512

test('what a guest leaves is there again in the next one', async () => {
  const file = await given()
  write(file, mark, [7])
  keep('suites', file)
  expect(existsSync(file)).toBe(false)
  expect(readFileSync(await given())[mark]).toBe(7)
})

test.each<[string, number, readonly number[]]>([
  ['was not unmounted', 1024 + 0x3a, [0, 0]],
  ['is filling up', 1024 + 0x0c, [1, 0, 0, 0]],
])('a disk that %s is not kept, and the one before it stays', async (_, at, bytes) => {
  const good = await given()
  write(good, mark, [7])
  keep('suites', good)
  const file = await given()
  write(file, mark, [8])
  write(file, at, bytes)
  keep('suites', file)
  expect(readFileSync(await given())[mark]).toBe(7)
})
