import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { until } from './command.ts'

/** One process for good: its number alone is used again, with its start time and the boot it is not. */
export interface ProcessRef {
  readonly pid: number
  /** Clock ticks since the boot, from /proc/PID/stat. */
  readonly startTime: string
  readonly bootId: string
}

const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

/** State letter, number of threads and start time of a process, or null when there is none. */
const statOf = (pid: number): { state: string; threads: number; startTime: string } | null => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The command name stands in parentheses and may hold spaces and parentheses itself.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return { state: fields[0] ?? '', threads: Number(fields[17]), startTime: fields[19] ?? '' }
  } catch {
    return null // gone: /proc answers ENOENT or, in the middle of it, ESRCH
  }
}

/** The process that has this number now, or null. */
export const processRef = (pid: number): ProcessRef | null => {
  const stat = statOf(pid)
  return stat === null ? null : { pid, startTime: stat.startTime, bootId: bootId() }
}

/** A zombie counts as gone once its last thread has ended: until then its files and sockets are open. */
export const isAlive = (ref: ProcessRef): boolean => {
  const stat = statOf(ref.pid)
  if (stat === null || stat.startTime !== ref.startTime || ref.bootId !== bootId()) return false
  return !['Z', 'X'].includes(stat.state) || stat.threads > 1
}

/** Sends a signal unless the process is gone. */
export const signalProcess = (ref: ProcessRef, signal: NodeJS.Signals): void => {
  if (!isAlive(ref)) return
  try {
    process.kill(ref.pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

export const waitGone = async (ref: ProcessRef, what: string, timeoutMs = 60_000): Promise<void> => {
  await until(`end of ${what} (pid ${ref.pid})`, () => (isAlive(ref) ? null : true), { timeoutMs, intervalMs: 10 })
}

/** Seen from the machine: the process that has number `innerPid` in the pid namespace of `init`. */
export const processInNamespaceOf = (init: ProcessRef, innerPid: number): ProcessRef | null => {
  const namespace = readlinkSync(`/proc/${init.pid}/ns/pid`)
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    try {
      if (readlinkSync(`/proc/${entry}/ns/pid`) !== namespace) continue
      const numbers = /^NSpid:\s+(.*)$/m.exec(readFileSync(`/proc/${entry}/status`, 'latin1'))?.[1]?.split(/\s+/)
      if (numbers?.at(-1) === String(innerPid)) return processRef(Number(entry))
    } catch {
      // Ended while we looked.
    }
  }
  return null
}

/** Children of a process, as the machine numbers them. */
export const childrenOf = (pid: number): number[] => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)
  } catch {
    return []
  }
}
