import type { ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'

/** So long rsync may do nothing at all: its disk hangs then, or it waits for what will not come. */
const stallMs = 300_000

/** What it was waited for may never be over. */
export class Stalled extends Error {}

/**
 * A large file is read whole, and many names are walked, before rsync says anything: only when its processes have not computed, read
 * or written either, it stands still.
 * @throws Stalled when `work`, for which rsync is waited, is not over by then; rsync is killed
 */
export const unlessStalled = async <T>(
  { child }: { readonly child: ChildProcess },
  work: Promise<T>,
  what: string,
  { limitMs = stallMs, activity = activityOf } = {},
): Promise<T> => {
  const stalled = Promise.withResolvers<never>()
  let before = activity(child.pid)
  const timer = setInterval(() => {
    const now = activity(child.pid)
    if (now === before) {
      child.kill('SIGKILL')
      stalled.reject(new Stalled(`rsync ${what} for ${limitMs / 1000} s and was ended; see the disk of this pool`))
    }
    before = now
  }, limitMs)
  try {
    return await Promise.race([work, stalled.promise])
  } finally {
    clearInterval(timer)
  }
}

/**
 * Another text when the process, or one that it has started, has used the processor, read or written meanwhile; of one that lives and
 * cannot be looked into, another each time.
 */
export const activityOf = (pid: number | undefined): string => {
  if (pid === undefined) return ''
  try {
    const [utime, stime] = readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ')
      .slice(11, 13)
    const [read, written] = readFileSync(`/proc/${pid}/io`, 'latin1').match(/^[rw]char: \d+$/gm) ?? []
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean)
    return [pid, utime, stime, read, written, ...children.map((child) => activityOf(Number(child)))].join(' ')
  } catch {
    return existsSync(`/proc/${pid}`) ? `unknown at ${performance.now()}` : ''
  }
}
