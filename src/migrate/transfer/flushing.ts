import { type StreamCommand, startStreamCommand } from './command.ts'
import { streamFailed } from './failure.ts'
import type { Task } from './task.ts'

/** A machine with much memory keeps some gigabytes before it begins to write by itself; the end of a stream would wait for all of them. */
const everyBytes = 128 * 2 ** 20

/** In a process of its own: one that hangs with its disk must not hold up the end of ours. */
const syncOf = (directory: string): Syncing =>
  startStreamCommand(['sync', '--file-system', directory], 'ignore', 'ignore')
type Syncing = Pick<StreamCommand, 'ended' | 'kill'>

/**
 * Runs `work` with a task that syncs the file system of the directory as the stream goes in, once for each 128 MiB, never twice at a time.
 * An error of the disk calls the work off; at its end the last sync is waited for, since the kernel tells an error once. Of work that
 * failed nothing is waited for.
 * @throws STREAM_FAILED
 */
export const flushing = async <T>(
  directory: string | undefined,
  task: Task,
  work: (task: Task) => Promise<T>,
  sync = syncOf,
): Promise<T> => {
  if (directory === undefined) return work(task)
  const broken = Promise.withResolvers<never>()
  const aborted = Promise.race([task.aborted, broken.promise])
  aborted.catch(() => {})
  let begunAt = 0
  let under: Syncing | null = null
  const flush = () => {
    const mine = sync(directory)
    under = mine
    mine.ended.then(
      () => {
        under = null
      },
      (error: Error) => broken.reject(streamFailed(`what arrives does not reach the disk: ${error.message}`)),
    )
  }
  const progress = (bytes: number) => {
    task.progress(bytes)
    if (under !== null || bytes - begunAt < everyBytes) return
    begunAt = bytes
    flush()
  }
  const last = (): Promise<void> => Promise.race([under?.ended, task.aborted, broken.promise])
  try {
    const result = await work({ ...task, aborted, progress })
    await last()
    return result
  } catch (error) {
    void (under as Syncing | null)?.kill()
    throw error
  }
}
