import { type FileHandle, open } from 'node:fs/promises'
import { promisify } from 'node:util'
import koffi from 'koffi'
import { errnoError } from './errno.ts'

const libc = koffi.load(null)
const advise = libc.func('int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)')
const dontNeed = 4

/** On disk when it returns, and what is read of the file next is read from there: pages whose writing failed do not pass for written ones. */
export const syncAndForget = async (path: string): Promise<void> => {
  const file = await open(path, 'r')
  try {
    await file.sync()
    await forget(file)
  } finally {
    await file.close()
  }
}

/** Apart from the main thread: the kernel looks at every page. */
const forget = async ({ fd }: FileHandle): Promise<void> => {
  const answer: unknown = await promisify(advise.async)(fd, 0, 0, dontNeed)
  if (Number(answer) !== 0) throw errnoError('posix_fadvise', Number(answer), 'posix_fadvise')
}
