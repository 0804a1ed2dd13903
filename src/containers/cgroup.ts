import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../domain/errors.ts'
import { isErrno } from '../lib/files.ts'

/** Where the kernel's views are; other places are for tests. */
export interface KernelRoots {
  readonly proc: string
  readonly cgroup: string
}

export interface FreezerCgroup {
  readonly version: 1 | 2
  readonly path: string
}

/** The cgroup that freezes the process, or null when the process is gone. See cgroups(7). */
export const freezerOf = async (roots: KernelRoots, pid: number): Promise<FreezerCgroup | null> => {
  const text = await readOrNull(join(roots.proc, String(pid), 'cgroup'))
  if (text === null) return null
  let unified: string | null = null
  for (const line of text.split('\n')) {
    const [, controllers = '', ...rest] = line.split(':')
    const path = rest.join(':')
    // A host with both versions freezes by the old one where it is mounted.
    if (controllers.split(',').includes('freezer')) return { version: 1, path: join(roots.cgroup, 'freezer', path) }
    if (line.startsWith('0::')) unified = path
  }
  if (unified === null || unified === '/') {
    throw new DroverError(
      'DOCKER_FAILED',
      `process ${pid} of the container is in no freezer cgroup; use --quiesce stop on this host`,
    )
  }
  return { version: 2, path: join(roots.cgroup, unified) }
}

/** Every process in it and in the cgroups below. Absent: none. */
export const processesIn = async (path: string): Promise<number[]> => {
  const text = await readOrNull(join(path, 'cgroup.procs'))
  if (text === null) return []
  const own = text
    .split('\n')
    .filter((line) => line !== '')
    .map(Number)
  const below = await Promise.all((await childrenOf(path)).map((child) => processesIn(join(path, child))))
  return [...own, ...below.flat()]
}

/**
 * SIGKILL to every process in it. A frozen one stays frozen under version 1 and dies as it thaws, without another step
 * of its own code; under version 2 it dies at once.
 * @returns how many were signalled
 */
export const killAll = async ({ version, path }: FreezerCgroup): Promise<number> => {
  // The kernel's own kill (5.14) is atomic against forks.
  if (version === 2) await writeIfThere(join(path, 'cgroup.kill'), '1')
  const signalled = new Set<number>()
  for (;;) {
    const fresh = (await processesIn(path)).filter((pid) => !signalled.has(pid))
    if (fresh.length === 0) return signalled.size
    for (const pid of fresh) {
      if (pid === 0) {
        throw new DroverError(
          'NOT_PERMITTED',
          `cgroup ${path} holds processes that vold cannot see; run vold in the host's pid namespace`,
        )
      }
      signalled.add(pid)
      kill(pid)
    }
  }
}

const kill = (pid: number): void => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (!isErrno(error, 'ESRCH')) throw error
  }
}

const childrenOf = async (path: string): Promise<string[]> => {
  try {
    const entries = await readdir(path, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV')) return []
    throw error
  }
}

/** A cgroup that is being removed answers ENODEV, a process that ends ESRCH. */
const readOrNull = async (path: string): Promise<string | null> => {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENODEV', 'ESRCH')) return null
    throw error
  }
}

const writeIfThere = async (path: string, text: string): Promise<void> => {
  try {
    await writeFile(path, text, { flag: 'r+' })
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'ENODEV')) throw error
  }
}
