import { expect, test } from 'vitest'
import { checkVersions } from '../../../src/backends/zfs/pool-check.ts'
import { ZfsCommand } from '../../../src/backends/zfs/zfs-command.ts'
import { CommandError, createExec, type Exec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'

const answering = (run: Exec['run']): ZfsCommand => new ZfsCommand({ ...createExec(silentLogger), run })
const printing = (stdout: string): ZfsCommand => answering(async () => ({ stdout, stderr: '' }))

test.each([
  'zfs-2.2.0-1\nzfs-kmod-2.2.0-1\n',
  'zfs-2.3.9-0+deb13u1\nzfs-kmod-2.3.9-0+deb13u1\n',
  'zfs-3.0.0\nzfs-kmod-2.4.1\n',
])('new enough: %j', async (text) => {
  await checkVersions('zfs:tank', printing(text))
})

test.each([
  ['zfs-2.1.11-1+deb12u1\nzfs-kmod-2.1.11-1+deb12u1\n', '2.1'],
  ['zfs-2.3.9\nzfs-kmod-2.1.11\n', '2.1'],
  ['zfs-0.8.3\nzfs-kmod-0.8.3\n', '0.8'],
])('too old: %j', async (text, found) => {
  await expect(checkVersions('zfs:tank', printing(text))).rejects.toMatchObject({
    code: 'BAD_CONFIG',
    message: `pool zfs:tank needs OpenZFS 2.2 or newer, here is ${found}; use Debian 13, or Debian 12's backports`,
  })
})

// The first is what 2.3.9 says when nothing can be loaded; the others are of its source.
test.each([
  "The ZFS modules cannot be auto-loaded.\nTry running 'modprobe zfs' as root to manually load them.\n",
  "The ZFS modules are not loaded.\nTry running 'modprobe zfs' as root to load them.\n",
  'zfs_version_kernel() failed: No such file or directory\n',
])('without the module in the kernel: %j', async (stderr) => {
  const failing = answering((argv) => Promise.reject(new CommandError(argv, 1, stderr)))
  await expect(checkVersions('zfs:tank', failing)).rejects.toMatchObject({
    code: 'BAD_CONFIG',
    message: expect.stringContaining('run modprobe zfs'),
  })
})
