import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import type { LabHost } from '../../lab/host.ts'
import { childrenOf } from '../../lab/processes.ts'

export interface Process {
  /** As the machine numbers it. */
  readonly pid: number
  readonly parent: number
  readonly command: string
}

const describe = (pid: number): Process | null => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (state === 'Z' || state === 'X') return null
    const command = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ').trim()
    return { pid, parent: Number(parent), command }
  } catch {
    return null // ended meanwhile
  }
}

/** All that runs on a host, containers included, but for its init. */
export const processesOf = (host: LabHost): Process[] => {
  const { pid: init } = host.init
  const namespace = readlinkSync(`/proc/${init}/ns/pid`)
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry) && Number(entry) !== init)
    .filter((entry) => {
      try {
        return readlinkSync(`/proc/${entry}/ns/pid`) === namespace
      } catch {
        return false
      }
    })
    .flatMap((entry) => describe(Number(entry)) ?? [])
}

const isTransfer = ({ command }: Process): boolean => /\btransfer\/process-main\.[jt]s\b/.test(command)

/** Processes that carry streams, or wait for one, below this host's `vold`. */
export const transferProcesses = (host: LabHost): Process[] =>
  childrenOf(host.vold.process?.pid ?? 0)
    .flatMap((pid) => describe(pid) ?? [])
    .filter(isTransfer)

/** `btrfs send` and `btrfs receive` of streams under way. */
export const streamCommands = (host: LabHost): Process[] =>
  transferProcesses(host)
    .flatMap(({ pid }) => childrenOf(pid))
    .flatMap((pid) => describe(pid) ?? [])

/** What no move needs any more: commands, and transfer processes but for the one that `vold` keeps ready for a while. */
export const leftoverProcesses = (host: LabHost): string[] => {
  const vold = host.vold.process?.pid ?? 0
  const all = processesOf(host)
  const kept = all.filter((process) => isTransfer(process) && process.parent === vold)
  const orphans = all.filter((process) => isTransfer(process) && process.parent !== vold)
  const commands = all.filter(({ command }) => /^(\S*\/)?btrfs (send|receive)\b/.test(command))
  return [...kept.slice(1), ...orphans, ...commands].map(({ command }) => `process ${command.slice(0, 120)}`)
}

/** SIGKILL, by number; false: it had ended. */
export const kill = (pid: number): boolean => {
  try {
    process.kill(pid, 'SIGKILL')
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
}
