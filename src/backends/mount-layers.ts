import { rmdir } from 'node:fs/promises'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import { isErrno } from '../lib/files.ts'
import type { Logger } from '../lib/logger.ts'
import { isMountOf } from '../lib/mount-users.ts'
import { allMounts, type MountEntry, ownMounts } from '../lib/mountinfo.ts'
import type { DatasetFingerprint } from './backend.ts'

/** Tells mounts of one dataset from all others. */
export type MountFilter = (entry: MountEntry) => boolean

/** Mounts of all of it. Null: it is nowhere. */
export const wholeMountsOf =
  (mark: DatasetFingerprint | null): MountFilter =>
  ({ device, root }) =>
    mark !== null && device === mark.device && root === mark.root

/** Mounts of a directory in it, too. Null: it is nowhere. */
export const anyMountsOf =
  (mark: DatasetFingerprint | null): MountFilter =>
  (entry) =>
    mark !== null && isMountOf(entry, mark)

/** A file system of its own. @param device `major:minor` */
export const fileSystemMark = (device: string): DatasetFingerprint => {
  const [major = 0, minor = 0] = device.split(':').map(Number)
  // As glibc packs the two.
  const statDevice = (minor & 0xff) + (major & 0xfff) * 0x100 + (minor & ~0xff) * 0x1000
  return { device, root: '/', statDevice }
}

const told = (entry: MountEntry): string => `something else (${entry.fsType} ${entry.source}${entry.root})`

/** Whether what one sees at the path is ours; false: nothing is mounted there. @throws VOLUME_BUSY when something else is */
export const isMountedAt = async (path: string, isOurs: MountFilter): Promise<boolean> => {
  const top = (await ownMounts()).filter((entry) => entry.mountPoint === path).at(-1)
  if (top === undefined) return false
  if (isOurs(top)) return true
  throw new DroverError('VOLUME_BUSY', `${told(top)} is mounted at ${path}; unmount it first`)
}

/** Unmounts every layer at the path, from the top, and removes the directory. @throws VOLUME_BUSY at the first that is not ours */
export const unmountLayers = async (
  path: string,
  isOurs: MountFilter,
  unmount: (path: string) => Promise<unknown>,
  logger: Logger,
): Promise<void> => {
  const layers = (await ownMounts()).filter((entry) => entry.mountPoint === path)
  for (const layer of layers.reverse()) {
    if (!isOurs(layer)) {
      throw new DroverError('VOLUME_BUSY', `${told(layer)} is mounted at ${path}; it is left alone`)
    }
    await unmount(path)
  }
  try {
    await rmdir(path)
  } catch (error) {
    if (isErrno(error, 'ENOTEMPTY')) logger.warn({ path }, 'the mount directory is not empty; it is left alone')
    else if (!isErrno(error, 'ENOENT')) throw error
  }
}

/** @throws VOLUME_BUSY while any mount namespace has it mounted */
export const refuseIfMounted = async (id: VolumeId, isOurs: MountFilter): Promise<void> => {
  for (const { pid, entries } of (await allMounts()).namespaces) {
    const mount = entries.find(isOurs)
    if (mount === undefined) continue
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${id} is mounted at ${mount.mountPoint} (seen by process ${pid}); unmount it first`,
    )
  }
}
