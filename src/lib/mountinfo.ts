import { readFileSync, readlinkSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { isErrno } from './files.ts'

/** One line of /proc/PID/mountinfo, see proc(5). */
export interface MountEntry {
  /** `major:minor` of the file system. */
  readonly device: string
  /** Which directory of the file system is mounted. */
  readonly root: string
  readonly mountPoint: string
  readonly fsType: string
  readonly source: string
  /** This mount of it, or the file system itself, takes no writes. */
  readonly isReadOnly: boolean
}

const decodeOctal = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

export const parseMountinfo = (text: string): MountEntry[] => {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const [before, after] = line.split(' - ')
    if (before === undefined || after === undefined) continue
    const [, , device = '', root = '', mountPoint = '', options = ''] = before.split(' ')
    const [fsType = '', source = '', ofFileSystem = ''] = after.split(' ')
    entries.push({
      device,
      root: decodeOctal(root),
      mountPoint: decodeOctal(mountPoint),
      fsType,
      source: decodeOctal(source),
      isReadOnly: [options, ofFileSystem].some((each) => each.split(',').includes('ro')),
    })
  }
  return entries
}

/** The mounts that this process sees. Read at once, as below: every call of a volume plugin waits for it, some three times. */
export const ownMounts = async (): Promise<MountEntry[]> => parseMountinfo(readFileSync('/proc/self/mountinfo', 'utf8'))

/** The mounts of one mount namespace, and a process that lives in it. */
export interface NamespaceMounts {
  readonly namespace: string
  readonly pid: number
  readonly entries: readonly MountEntry[]
}

/**
 * Every mount namespace that has a process, each read once. `own` names ours. /proc never waits for a disk, and hundreds of
 * asynchronous calls cost ten times what these do.
 */
export const allMounts = async (): Promise<{ own: string; namespaces: NamespaceMounts[] }> => {
  const own = readlinkSync('/proc/self/ns/mnt')
  const seen = new Map<string, NamespaceMounts>()
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  for (const pid of pids) {
    try {
      const namespace = readlinkSync(`/proc/${pid}/ns/mnt`)
      if (seen.has(namespace)) continue
      const entries = parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'))
      if (entries.length > 0) seen.set(namespace, { namespace, pid: Number(pid), entries })
    } catch (error) {
      if (!isErrno(error, 'ENOENT', 'ESRCH', 'EACCES', 'EINVAL')) throw error
    }
  }
  return { own, namespaces: [...seen.values()] }
}
