import koffi from 'koffi'
import { errnoError } from './errno.ts'

const libc = koffi.load(null)
const syncfs = libc.func('int syncfs(int fd)')

/**
 * Waits until all that was written to the file system is on its disk: syncfs(2). It keeps this process from everything else meanwhile.
 * @param fd of any file or directory on it, opened before what was written
 * @throws errno errors: ENOSPC, EIO and such, when something written since then did not reach the disk
 */
export const syncFileSystem = (fd: number): void => {
  if (syncfs(fd) !== 0) throw errnoError('syncfs', koffi.errno(), 'what was written did not reach the disk')
}
