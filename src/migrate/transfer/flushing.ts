import { closeSync, openSync } from 'node:fs'
import { syncFileSystemAside } from '../../lib/sync-file-system.ts'
import { streamFailed } from './failure.ts'
import type { Task } from './task.ts'

/** A machine with much memory keeps some gigabytes before it begins to write by itself; the end of a stream would wait for all of them. */
const everyBytes = 128 * 2 ** 20

/**
 * Runs `work` with a task that syncs the file system of the directory as the stream goes in, once for each 128 MiB, never twice at a time.
 * An error of the disk calls the work off; at the end it is waited for, since the kernel tells it to nobody else.
 * @throws STREAM_FAILED
 */
export const flushing = async <T>(
  directory: string | undefined,
  task: Task,
  work: (task: Task) => Promise<T>,
  sync = syncFileSystemAside,
): Promise<T> => {
  if (directory === undefined) return work(task)
  const failed = (error: unknown) =>
    streamFailed(`what arrives does not reach the disk at ${directory}: ${(error as Error).message}`)
  const broken = Promise.withResolvers<never>()
  const aborted = Promise.race([task.aborted, broken.promise])
  aborted.catch(() => {})
  let fd: number
  try {
    fd = openSync(directory, 'r')
  } catch (error) {
    throw failed(error)
  }
  let begunAt = 0
  let under: Promise<void> | null = null
  const flush = () => {
    under = sync(fd).then(
      () => {
        under = null
      },
      (error: unknown) => broken.reject(failed(error)),
    )
  }
  try {
    const result = await work({
      ...task,
      aborted,
      progress(bytes) {
        task.progress(bytes)
        if (under !== null || bytes - begunAt < everyBytes) return
        begunAt = bytes
        flush()
      },
    })
    await Promise.race([under, broken.promise])
    return result
  } finally {
    await under
    closeSync(fd)
  }
}
