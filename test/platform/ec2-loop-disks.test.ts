import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import { loopDisks } from '../ec2/loop-disks.ts'
import { sh } from '../support/loop-btrfs.ts'

const mainPath = join(import.meta.dirname, '../ec2/loop-disks-main.ts')
const loopsOf = async (directory: string) => (await sh('losetup', '-n', '-O', 'BACK-FILE')).includes(`${directory}/`)

test('what a killed run had attached, mounted and frozen is gone a moment later', async () => {
  const child = spawn(process.execPath, [mainPath], { stdio: ['ignore', 'pipe', 'inherit'] })
  const [chunk] = await once(child.stdout, 'data')
  const directory = String(chunk).trim()
  expect(await loopsOf(directory)).toBe(true)
  child.kill('SIGKILL')
  await expect.poll(() => existsSync(directory), { timeout: 60_000 }).toBe(false)
  expect(await loopsOf(directory)).toBe(false)
  expect((await sh('findmnt', '-rn', '-o', 'TARGET')).includes(directory)).toBe(false)
})

test('what is mounted is not taken off; a read-only one is writable for whoever gets its device next', async () => {
  const disks = await loopDisks(['i-1'])
  try {
    await disks.make('vol-1', 16 * 2 ** 20, null)
    await disks.attach('vol-1', 'i-1')
    const link = disks.link('vol-1', 'i-1')
    await sh('mke2fs', '-q', '-t', 'ext4', link)
    const at = join(disks.directory, 'mnt')
    await mkdir(at)
    await sh('mount', link, at)
    expect(await disks.detach('vol-1', 'i-1')).toBe(false)
    await sh('umount', at)
    await sh('blockdev', '--setro', link)
    const loop = (await sh('realpath', link)).trim()
    const kernel = new KernelDisks(disks.links('i-1'))
    const disk = await kernel.find('vol-1')
    if (disk === null) throw new Error('the disk is not there')
    expect(await disks.detach('vol-1', 'i-1')).toBe(true)
    expect((await sh('blockdev', '--getro', loop)).trim()).toBe('0')

    // What has its path by now is another disk.
    expect(() => kernel.refuseWrites(disk)).toThrow(expect.objectContaining({ code: 'VOLUME_BUSY' }))
    expect((await sh('blockdev', '--getro', loop)).trim()).toBe('0')
  } finally {
    await disks.dispose()
  }
  expect(existsSync(disks.directory)).toBe(false)
})
