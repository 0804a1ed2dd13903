import { closeSync, constants, openSync } from 'node:fs'
import { mkdir, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { syncFileSystem } from '../../src/lib/sync-file-system.ts'
import { sh } from '../support/loop-btrfs.ts'
import { temporaryDirectory } from '../support/temporary-directory.ts'

test('what memory took and the disk did not is told', async () => {
  const directory = await temporaryDirectory()
  const [disk, top] = [join(directory, 'disk'), join(directory, 'top')]
  for (const path of [disk, top]) await mkdir(path)
  await sh('mount', '--make-private', '-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', disk)
  onTestFinished(() => sh('umount', disk).then(() => undefined))
  const image = join(disk, 'image')
  await writeFile(image, '')
  await truncate(image, 256 * 2 ** 20)
  await sh('mkfs.ext4', '-q', '-O', '^has_journal', image)
  await sh('mount', '--make-private', '-o', 'loop', image, top)
  onTestFinished(() => sh('umount', top).then(() => undefined))
  const fd = openSync(top, constants.O_RDONLY | constants.O_DIRECTORY)
  onTestFinished(() => closeSync(fd))
  await writeFile(join(top, 'small'), Buffer.alloc(2 ** 20, 1))
  syncFileSystem(fd)
  await writeFile(join(top, 'large'), Buffer.alloc(64 * 2 ** 20, 1))
  expect(() => syncFileSystem(fd)).toThrow(/did not reach the disk/)
})
