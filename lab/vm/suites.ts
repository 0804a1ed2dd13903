import { existsSync } from 'node:fs'
import { basename } from 'node:path'

const zfs = '/sys/module/zfs'
const thin = '/sys/module/dm_thin_pool'

/** Suites of what not every kernel has: test/vm/NAME, run where the kernel has the modules, and in a guest, which has all of them. */
const suites = [
  { name: 'zfs', modules: [zfs] },
  { name: 'lvm-thin', modules: [thin] },
  { name: 'pairs', modules: [zfs, thin] },
] as const

type Suite = (typeof suites)[number]

const names = (found: readonly Suite[]): string[] => found.map(({ name }) => name)
const runsHere = ({ modules }: Suite): boolean => modules.every((path) => existsSync(path))

/** Those that have to run, wherever that is. */
export const allSuites = (): string[] => names(suites)

export const suitesOfThisKernel = (): string[] => names(suites.filter(runsHere))

export const suitesForGuest = (): string[] => names(suites.filter((suite) => !runsHere(suite)))

/** Side by side, each in a guest of its own: they take about the same time. */
export const inLanes = (wanted: readonly string[]): string[][] =>
  [wanted.filter((name) => name !== 'lvm-thin'), wanted.filter((name) => name === 'lvm-thin')].filter(
    (lane) => lane.length > 0,
  )

/** Which a guest loads first; others come with a mount. Of ZFS that takes ten seconds in emulation: it measures how fast it is. */
export const modulesFor = (wanted: readonly string[]): string[] => {
  const paths = suites.filter(({ name }) => wanted.includes(name)).flatMap(({ modules }) => [...modules])
  return [...new Set(paths.map((path) => basename(path)))]
}

export const kernelModules = modulesFor(allSuites())

/**
 * What takes longest in emulation. A crash between any two commands is tried by this kernel too, on loop devices and btrfs, and so is a
 * stream of blocks that goes on; a receive that is cut off at half its way is among the power cuts.
 */
export const seldom = ['**/*-crashes.test.ts', '**/*-resuming.test.ts', '**/pairs/others.test.ts']
