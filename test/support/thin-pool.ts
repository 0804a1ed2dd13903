import { randomUUID } from 'node:crypto'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sh } from './loop-btrfs.ts'

export interface TestThinPool {
  readonly group: string
  /** `GROUP/POOL`, such as a pool spec names. */
  readonly where: string
  /** Where Drover keeps its notes, once the pool was opened. */
  readonly notes: string
  dispose(): Promise<void>
}

/** As `lvchange --errorwhenfull y` would have it afterwards. */
const errorWhenFull = 'activation/error_when_full=1'

/** A volume group in a file, with a thin pool in it. */
export const testThinPool = async (sizeMib = 1024): Promise<TestThinPool> => {
  const directory = await mkdtemp(join(process.env.TMPDIR ?? '/var/tmp', 'drover-thin-'))
  const file = join(directory, 'disk')
  const group = `test-${randomUUID().slice(0, 8)}`
  await writeFile(file, '')
  await truncate(file, (sizeMib + 64) * 2 ** 20)
  const loop = (await sh('losetup', '--find', '--show', file)).trim()
  await sh('vgcreate', '-q', group, loop)
  const options = ['-L', `${sizeMib}M`, '--poolmetadatasize', '16M', '--monitor', 'n']
  await sh('lvcreate', '-q', '--type', 'thin-pool', ...options, '--config', errorWhenFull, '-n', 'thin-pool', group)
  const notes = `/run/drover-lvm/${group}/thin-pool/notes`
  return {
    group,
    where: `${group}/thin-pool`,
    notes,
    dispose: async () => {
      await sh('sh', '-c', 'umount "$0" 2>/dev/null || true', notes)
      await rm(`/run/drover-lvm/${group}`, { recursive: true, force: true })
      await sh('vgremove', '-q', '-f', '-y', group)
      await sh('losetup', '--detach', loop)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
