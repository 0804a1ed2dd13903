import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { sh } from '../support/loop-btrfs.ts'
import { loopDisks } from './loop-disks.ts'

/* A run that will be killed: it attaches a volume, mounts it, freezes it, says where all that is, and waits. */

const disks = await loopDisks(['i-1'])
await disks.make('vol-1', 16 * 2 ** 20, null)
await disks.attach('vol-1', 'i-1')
const at = join(disks.directory, 'mnt')
await mkdir(at)
await sh('mke2fs', '-q', '-t', 'ext4', disks.link('vol-1', 'i-1'))
await sh('mount', disks.link('vol-1', 'i-1'), at)
await sh('fsfreeze', '--freeze', at)
process.stdout.write(`${disks.directory}\n`)
setInterval(() => {}, 1_000)
