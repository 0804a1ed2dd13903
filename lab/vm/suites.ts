import { existsSync } from 'node:fs'

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

/** Which a guest loads first; others come with a mount. */
export const kernelModules = ['zfs', 'dm_thin_pool']

/**
 * What takes longest in emulation. A crash between any two commands is tried by this kernel too, on loop devices and btrfs, and so is a
 * stream of blocks that goes on; a receive that is cut off at half its way is among the power cuts.
 */
export const seldom = ['**/*-crashes.test.ts', '**/*-resuming.test.ts', '**/pairs/others.test.ts']
