import { readFileSync } from 'node:fs'
import type { LabHost } from '../lab/host.ts'
import { childrenOf } from '../lab/processes.ts'

/** Resident bytes of a process and all below it, now; the command's name tells what each is. */
export const residentOf = (pid: number): number => {
  let bytes = 0
  try {
    bytes = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1] ?? 0) * 1024
  } catch {
    return 0 // ended while we looked
  }
  return childrenOf(pid).reduce((sum, child) => sum + residentOf(child), bytes)
}

const voldPid = (host: LabHost): number => {
  const pid = host.vold.process?.pid
  if (pid === undefined) throw new Error(`vold does not run on ${host.name}`)
  return pid
}

/** Of `vold` and everything that it started (transfers, btrfs), pages that they share counted for each. */
export const residentBytes = (host: LabHost): number => residentOf(voldPid(host))

/** Of `vold` alone. */
export const ownResidentBytes = (host: LabHost): Promise<number> => host.vold.residentBytes()

/** The most that each host had while `work` ran, looked at every 20 ms. */
export const peakWhile = async (hosts: readonly LabHost[], work: () => Promise<unknown>): Promise<number[]> => {
  const peaks = hosts.map(residentBytes)
  const look = () => {
    for (const [index, host] of hosts.entries()) peaks[index] = Math.max(peaks[index] ?? 0, residentBytes(host))
  }
  const timer = setInterval(look, 20)
  try {
    await work()
  } finally {
    clearInterval(timer)
  }
  return peaks
}
