import { realpath, stat, statfs } from 'node:fs/promises'
import { DroverError } from '../../domain/errors.ts'
import { isErrno } from '../../lib/files.ts'
import { type MountEntry, ownMounts } from '../../lib/mountinfo.ts'

const btrfsMagic = 0x9123683e

/** Where a directory lies within the file system that holds it, as mountinfo names it. */
export interface PoolPlace {
  /** `major:minor` of the file system in mountinfo. */
  readonly device: string
  /** From the top of the file system; '' for the top itself. */
  readonly root: string
  readonly mountPoint: string
  readonly fsType: string
  /** The block device, such as /dev/loop0. */
  readonly source: string
}

/** @throws BAD_CONFIG, NOT_PERMITTED, each saying what to do. */
export const checkPool = async (spec: string, where: string): Promise<void> => {
  if (process.geteuid?.() !== 0) {
    throw new DroverError(
      'NOT_PERMITTED',
      `pool ${spec} needs root: btrfs subvolumes cannot be managed otherwise; run vold as root`,
    )
  }
  try {
    if (!where.startsWith('/'))
      throw new DroverError('BAD_CONFIG', `pool ${spec} is not an absolute path; write btrfs:/PATH`)
    if (!(await stat(where)).isDirectory()) {
      throw new DroverError('BAD_CONFIG', `pool ${spec} is not a directory; name a directory on a mounted btrfs`)
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENOTDIR')) throw error
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${spec} does not exist; make the directory on a mounted btrfs, or mount it first`,
    )
  }
  if ((await statfs(where)).type !== btrfsMagic) {
    const { fsType } = await placeOf(where)
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${spec} is on ${fsType}, not on btrfs; name a directory on a mounted btrfs`,
    )
  }
}

/** Found in mountinfo each time: a pool may be mounted anew while we run. Needs no process. */
export const placeOf = async (where: string): Promise<PoolPlace> => {
  const path = await realpath(where)
  const covers = (entry: MountEntry) =>
    entry.mountPoint === '/' || path === entry.mountPoint || path.startsWith(`${entry.mountPoint}/`)
  // The longest mount point holds the path; of several there, the last one covers the others.
  let best: MountEntry | undefined
  for (const entry of (await ownMounts()).filter(covers)) {
    if (best === undefined || entry.mountPoint.length >= best.mountPoint.length) best = entry
  }
  if (best === undefined) throw new DroverError('BAD_CONFIG', `no mount holds ${where}`)
  const below = best.mountPoint === '/' ? path : path.slice(best.mountPoint.length)
  const root = `${best.root === '/' ? '' : best.root}${below === '/' ? '' : below}`
  return { device: best.device, root, mountPoint: best.mountPoint, fsType: best.fsType, source: best.source }
}
