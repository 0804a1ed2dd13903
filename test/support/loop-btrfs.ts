import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { letIdleLoopsBeWritten } from '../../src/lib/loop-devices.ts'

const run = promisify(execFile)

/** Runs a program and answers what it printed. */
export const sh = async (...argv: readonly [string, ...string[]]): Promise<string> =>
  (await run(argv[0], argv.slice(1), { env: { ...process.env, LC_ALL: 'C' }, maxBuffer: 2 ** 26 })).stdout

export interface LoopBtrfs {
  readonly path: string
  dispose(): Promise<void>
}

/** A btrfs of its own in a file on disk, mounted privately, gone after `dispose`. */
export const loopBtrfs = async (sizeBytes = 2 ** 30, times = 'noatime'): Promise<LoopBtrfs> => {
  const directory = await mkdtemp('/var/tmp/drover-btrfs-')
  const image = join(directory, 'image')
  const path = join(directory, 'pool')
  await mkdir(path)
  await writeFile(image, '')
  await truncate(image, sizeBytes)
  await sh('mkfs.btrfs', '-q', image)
  await letIdleLoopsBeWritten()
  await sh('mount', '--make-private', '-o', `loop,${times},nodiscard`, image, path)
  return {
    path,
    dispose: async () => {
      await sh('umount', path)
      await rm(directory, { recursive: true, force: true })
    },
  }
}
