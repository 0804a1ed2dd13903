import { rmdir } from 'node:fs/promises'
import { DroverError } from '../domain/errors.ts'
import type { VolumeId } from '../domain/ids.ts'
import { isErrno } from '../lib/files.ts'
import type { Logger } from '../lib/logger.ts'
import { isMountOf, mountsOf } from '../lib/mount-users.ts'
import { type MountEntry, ownMounts } from '../lib/mountinfo.ts'
import type { DatasetFingerprint } from './backend.ts'

const told = (entry: MountEntry): string => `something else (${entry.fsType} ${entry.source}${entry.root})`

/** Whether what `mark` tells of is what one sees at the path; false: nothing is mounted there. @throws VOLUME_BUSY when something else is */
export const isMountedAt = async (path: string, mark: DatasetFingerprint | null): Promise<boolean> => {
  const top = (await ownMounts()).filter((entry) => entry.mountPoint === path).at(-1)
  if (top === undefined) return false
  if (mark !== null && top.device === mark.device && top.root === mark.root) return true
  throw new DroverError('VOLUME_BUSY', `${told(top)} is mounted at ${path}; unmount it first`)
}

/** Unmounts every layer at the path, from the top, and removes the directory. @throws VOLUME_BUSY at the first that is not of `mark` */
export const unmountLayers = async (
  path: string,
  mark: DatasetFingerprint | null,
  unmount: (path: string) => Promise<unknown>,
  logger: Logger,
): Promise<void> => {
  const layers = (await ownMounts()).filter((entry) => entry.mountPoint === path)
  for (const layer of layers.reverse()) {
    if (mark === null || !isMountOf(layer, mark)) {
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
export const refuseIfMounted = async (id: VolumeId, mark: DatasetFingerprint | null): Promise<void> => {
  const [mount] = mark === null ? [] : await mountsOf(mark)
  if (mount === undefined) return
  throw new DroverError(
    'VOLUME_BUSY',
    `volume ${id} is mounted at ${mount.mountPoint} (seen by process ${mount.pid}); unmount it first`,
  )
}
