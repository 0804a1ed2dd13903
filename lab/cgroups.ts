import { existsSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { join } from 'node:path'
import { until } from './command.ts'

/** The parent of all of a host's containers in the machine's cgroup tree, which all engines share. */
export const cgroupParent = (lab: string, host: string): string => `/drover-lab-${lab}-${host}`

/** Where cgroup hierarchies are mounted: many with version 1, one with version 2. */
const hierarchies = (): string[] =>
  readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, , type]) => type === 'cgroup' || type === 'cgroup2')
    .map(([, path = '']) => path)

const subdirectories = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(path, entry.name))

/** Removes a tree of cgroups from the leaves up. False: something in it is still busy. */
const removeTree = (path: string): boolean => {
  if (!existsSync(path)) return true
  try {
    for (const child of subdirectories(path)) if (!removeTree(child)) return false
    rmdirSync(path)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
    if ((error as NodeJS.ErrnoException).code === 'EBUSY') return false
    throw error
  }
}

/** Removes a host's cgroups; its processes must be dead. The kernel may take a moment to let go of the last. */
export const removeCgroups = async (lab: string, host: string): Promise<void> => {
  for (const hierarchy of hierarchies()) {
    const path = join(hierarchy, cgroupParent(lab, host))
    await until(`removal of ${path}`, () => (removeTree(path) ? true : null), { timeoutMs: 10_000 })
  }
}
