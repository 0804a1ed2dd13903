import { chmod, open, rename, rm, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import { formatSize } from '../../domain/units.ts'
import { CommandError, type Exec } from '../../lib/exec.ts'
import { ensureDirectory, isErrno, syncDirectory } from '../../lib/files.ts'
import type { Logger } from '../../lib/logger.ts'
import { letIdleLoopsBeWritten } from '../../lib/loop-devices.ts'
import { ownMounts } from '../../lib/mountinfo.ts'

const gib = 2 ** 30
const largestBytes = 20 * gib
/** Below this btrfs has no room to work in. */
const smallestBytes = 256 * 2 ** 20

/**
 * The pool of a host that names none: a btrfs in a preallocated file, so that a full root file system cannot break it.
 * Made once; afterwards only mounted. Safe to repeat after a crash at any point.
 * @returns its spec, `btrfs:<data-dir>/pool`
 * @throws NO_SPACE, MISSING_PROGRAM, BAD_CONFIG
 */
export const ensureLoopPool = async (context: {
  readonly dataDir: string
  readonly exec: Exec
  readonly logger: Logger
  /** Bytes; chosen by what is free unless given. */
  readonly sizeBytes?: number
}): Promise<string> => {
  const { dataDir, exec, logger } = context
  const image = join(dataDir, 'pool.img')
  const pool = join(dataDir, 'pool')
  await ensureDirectory(dataDir)
  await ensureDirectory(pool)
  const mounted = (await ownMounts()).filter((entry) => entry.mountPoint === pool).at(-1)
  if (mounted !== undefined) {
    if (mounted.fsType === 'btrfs') return `btrfs:${pool}`
    throw new DroverError(
      'BAD_CONFIG',
      `${pool} is a mount of ${mounted.fsType}, not of the default pool; unmount it or name a pool`,
    )
  }
  if (!(await exists(image))) {
    await makeImage(image, context.sizeBytes ?? (await chooseSize(dataDir)), exec)
    logger.info({ image }, 'made the default pool')
  }
  await chmod(pool, 0o700)
  // A loop device that outlived its mount (a crash, another mount namespace) is used again: two on one file would tear it.
  const attached = (await exec.run(['losetup', '--associated', image, '--output', 'NAME', '--noheadings'])).stdout
  const device = attached.split('\n')[0]?.trim() ?? ''
  const options = 'noatime,nodiscard'
  await letIdleLoopsBeWritten()
  const [source, flags] = device === '' ? [image, `loop,${options}`] : [device, options]
  await exec.run(['mount', '-n', '--make-private', '-t', 'btrfs', '-o', flags, source, pool])
  await chmod(pool, 0o700)
  return `btrfs:${pool}`
}

const chooseSize = async (dataDir: string): Promise<number> => {
  const { bavail, bsize } = await statfs(dataDir)
  const half = Math.floor((bavail * bsize) / 2 / 2 ** 20) * 2 ** 20
  const size = Math.min(largestBytes, half)
  if (size >= smallestBytes) return size
  throw new DroverError(
    'NO_SPACE',
    `no space for the default pool: ${formatSize(bavail * bsize)} free at ${dataDir}, ${formatSize(2 * smallestBytes)} needed; free some, or name a pool`,
    { details: { freeBytes: bavail * bsize, neededBytes: 2 * smallestBytes } },
  )
}

/** mkfs runs only on a file that was made here a moment ago; the pool's name appears when all is on disk. */
const makeImage = async (image: string, sizeBytes: number, exec: Exec): Promise<void> => {
  const making = `${image}.making`
  await rm(making, { force: true })
  try {
    const handle = await open(making, 'wx', 0o600)
    try {
      await allocate(making, sizeBytes, exec)
      await exec.run(['mkfs.btrfs', '-q', '-L', 'drover', making], { timeoutMs: 600_000 })
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(making, image)
  } catch (error) {
    await rm(making, { force: true })
    throw error
  }
  await syncDirectory(join(image, '..'))
}

const allocate = async (path: string, sizeBytes: number, exec: Exec): Promise<void> => {
  try {
    await exec.run(['fallocate', '--length', String(sizeBytes), path], { timeoutMs: 600_000 })
  } catch (error) {
    if (!(error instanceof CommandError)) throw error
    const [code, message] = /No space left on device/.test(error.stderr)
      ? ([
          'NO_SPACE',
          `no space for the default pool: ${formatSize(sizeBytes)} needed at ${path}; free some, or name a pool`,
        ] as const)
      : (['BAD_CONFIG', `the default pool cannot be made at ${path}: ${error.message}; name a pool`] as const)
    throw new DroverError(code, message, { details: error.details, cause: error })
  }
}

const exists = async (path: string): Promise<boolean> => {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}
