import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sh } from './loop-btrfs.ts'

export interface TestZpool {
  /** A dataset of its own, such as a pool spec names. */
  readonly dataset: string
  dispose(): Promise<void>
}

let sequence = 0

/** A pool of ZFS in a file, with a dataset for Drover. Not compressed, so that figures of room are those of what was written. */
export const testZpool = async (properties: Readonly<Record<string, string>> = {}): Promise<TestZpool> => {
  const directory = await mkdtemp(join(process.env.TMPDIR ?? '/var/tmp', 'drover-zpool-'))
  const file = join(directory, 'disk')
  const name = `test${process.pid}x${sequence++}`
  await writeFile(file, '')
  await truncate(file, 2 * 2 ** 30)
  await sh('zpool', 'create', '-O', 'compression=off', '-O', 'mountpoint=none', '-o', 'cachefile=none', name, file)
  const settings = Object.entries(properties).flatMap(([key, value]) => ['-o', `${key}=${value}`])
  await sh('zfs', 'create', ...settings, `${name}/drover`)
  return {
    dataset: `${name}/drover`,
    dispose: async () => {
      await sh('zpool', 'destroy', name)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
