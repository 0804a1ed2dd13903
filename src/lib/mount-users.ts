import { readdirSync, readlinkSync } from 'node:fs'
import { readdir, readFile, stat } from 'node:fs/promises'
import { isErrno } from './files.ts'
import { allMounts, type MountEntry } from './mountinfo.ts'

/** How mounts and open files of one dataset are recognised; a backend's DatasetFingerprint fits. */
export interface DatasetMark {
  /** `major:minor` in mountinfo of the file system. */
  readonly device: string
  /** mountinfo roots equal to this, or below it, are mounts of the dataset. */
  readonly root: string
  /** st_dev of files in it. */
  readonly statDevice: number
}

export interface DatasetMount {
  readonly mountPoint: string
  readonly root: string
  /** The mount namespace, such as `mnt:[4026531841]`, and a process in it. */
  readonly namespace: string
  readonly pid: number
  /** In the caller's own mount namespace. */
  readonly own: boolean
  /** Command line of that process. */
  readonly command: string
  /** Of the container that the process is in, by its cgroup; null outside of any. */
  readonly containerId: string | null
}

export interface DatasetOpener {
  readonly pid: number
  readonly command: string
  /** `cwd`, `root`, `exe`, `fd 7`, `mapping`. */
  readonly what: readonly string[]
  /** The mount namespace that it is in; '' when it is ending. */
  readonly namespace: string
  /** That is the caller's own. */
  readonly own: boolean
  readonly containerId: string | null
}

export const isMountOf = (entry: MountEntry, mark: DatasetMark): boolean => {
  if (entry.device !== mark.device) return false
  // The kernel appends this to the root of a mount whose directory was removed.
  const root = entry.root.replace(/\/\/deleted$/, '')
  return root === mark.root || root.startsWith(mark.root.endsWith('/') ? mark.root : `${mark.root}/`)
}

/** Every mount of the dataset in every mount namespace that has a process. Starts no process. */
export const mountsOf = async (mark: DatasetMark): Promise<DatasetMount[]> => {
  const { own, namespaces } = await allMounts()
  const found = await Promise.all(
    namespaces.map(async ({ namespace, pid, entries }) => {
      const ours = entries.filter((entry) => isMountOf(entry, mark))
      if (ours.length === 0) return []
      const who = { pid, ...(await whoIs(String(pid))) }
      return ours.map(({ mountPoint, root }) => ({ mountPoint, root, namespace, own: namespace === own, ...who }))
    }),
  )
  return found.flat()
}

/** Every process with a descriptor, working directory, root, program or mapping in the dataset. */
export const openersOf = async (mark: DatasetMark): Promise<DatasetOpener[]> => {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name))
  const found = await Promise.all(pids.map((pid) => openedBy(pid, mark)))
  return found.filter((opener) => opener !== null)
}

const openedBy = async (pid: string, mark: DatasetMark): Promise<DatasetOpener | null> => {
  const what: string[] = []
  for (const link of ['cwd', 'root', 'exe']) {
    if (await isOn(`/proc/${pid}/${link}`, mark)) what.push(link)
  }
  for (const fd of entriesOf(`/proc/${pid}/fd`)) {
    // Most descriptors are sockets and pipes: the link says so at once, and never waits for a file system.
    if (linkOf(`/proc/${pid}/fd/${fd}`)?.startsWith('/') && (await isOn(`/proc/${pid}/fd/${fd}`, mark)))
      what.push(`fd ${fd}`)
  }
  if (await maps(pid, mark)) what.push('mapping')
  if (what.length === 0) return null
  const namespace = linkOf(`/proc/${pid}/ns/mnt`) ?? ''
  return { pid: Number(pid), what, namespace, own: namespace === linkOf('/proc/self/ns/mnt'), ...(await whoIs(pid)) }
}

const whoIs = async (pid: string): Promise<{ command: string; containerId: string | null }> => ({
  command: await commandOf(pid),
  containerId: containerIdOf((await readQuietly(`/proc/${pid}/cgroup`)) ?? ''),
})

/** Engines name a container's cgroup after its id: `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`. */
export const containerIdOf = (cgroup: string): string | null =>
  /[/-]([0-9a-f]{64})(?:\.scope)?(?:\/|$)/m.exec(cgroup)?.[1] ?? null

/** A mapping outlives its descriptor. maps gives the file system's device, map_files leads to the very file. */
const maps = async (pid: string, mark: DatasetMark): Promise<boolean> => {
  const [major = '', minor = ''] = mark.device.split(':')
  const device = `${Number(major).toString(16).padStart(2, '0')}:${Number(minor).toString(16).padStart(2, '0')}`
  const text = (await readQuietly(`/proc/${pid}/maps`)) ?? ''
  if (!text.includes(` ${device} `)) return false
  for (const line of text.split('\n')) {
    const [range = '', , , lineDevice] = line.split(' ', 4)
    if (lineDevice !== device) continue
    const short = range.split('-').map((end) => end.replace(/^0+(?=.)/, ''))
    if (await isOn(`/proc/${pid}/map_files/${short.join('-')}`, mark)) return true
  }
  return false
}

const commandOf = async (pid: string): Promise<string> => {
  const words = (await readQuietly(`/proc/${pid}/cmdline`))?.replaceAll('\0', ' ').trim() ?? ''
  return words === '' ? ((await readQuietly(`/proc/${pid}/comm`))?.trim() ?? '') : words
}

const isOn = async (path: string, mark: DatasetMark): Promise<boolean> =>
  (await unlessGone(stat(path)))?.dev === mark.statDevice

const linkOf = (path: string): string | null => {
  try {
    return readlinkSync(path)
  } catch (error) {
    if (isErrno(error, ...goneCodes)) return null
    throw error
  }
}

const entriesOf = (path: string): string[] => {
  try {
    return readdirSync(path)
  } catch (error) {
    if (isErrno(error, ...goneCodes)) return []
    throw error
  }
}

const readQuietly = (path: string): Promise<string | null> => unlessGone(readFile(path, 'utf8'))

const goneCodes = ['ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR', 'ENXIO', 'EIO', 'ESTALE', 'EINVAL', 'ENOTCONN']

/** Processes come and go while we look, and kernel threads have no files: both are no finding. */
const unlessGone = async <T>(work: Promise<T>): Promise<T | null> => {
  try {
    return await work
  } catch (error) {
    if (isErrno(error, ...goneCodes)) return null
    throw error
  }
}
