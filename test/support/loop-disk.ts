import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { letIdleLoopsBeWritten } from '../../src/lib/loop-devices.ts'
import { sh } from './loop-btrfs.ts'

export interface LoopDisk {
  readonly path: string
  dispose(): Promise<void>
}

const mkfs = { xfs: ['mkfs.xfs', '-q', '-m', 'reflink=1'], ext4: ['mkfs.ext4', '-q', '-m', '0'] } as const

/** A file system of its own in a file on disk, mounted privately, gone after `dispose`. xfs shares extents between files, ext4 copies. */
export const loopDisk = async (kind: 'xfs' | 'ext4', sizeBytes = 2 ** 30): Promise<LoopDisk> => {
  const directory = await mkdtemp(`/var/tmp/drover-${kind}-`)
  const image = join(directory, 'image')
  const path = join(directory, 'pool')
  await mkdir(path)
  await writeFile(image, '')
  await truncate(image, sizeBytes)
  const [program, ...options] = mkfs[kind]
  await sh(program, ...options, image)
  await letIdleLoopsBeWritten()
  await sh('mount', '--make-private', '-o', 'loop,noatime,nodiscard', image, path)
  return {
    path,
    dispose: async () => {
      await sh('umount', path)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
