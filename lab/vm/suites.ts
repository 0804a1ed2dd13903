import { existsSync } from 'node:fs'

/** Suites of what not every kernel has: test/vm/NAME, run where the kernel has the module, and in a guest, which has all of them. */
const suites = [
  { name: 'zfs', module: '/sys/module/zfs' },
  { name: 'lvm-thin', module: '/sys/module/dm_thin_pool' },
] as const

const names = (found: readonly { readonly name: string }[]): string[] => found.map(({ name }) => name)

/** Those that have to run, wherever that is. */
export const allSuites = (): string[] => names(suites)

export const suitesOfThisKernel = (): string[] => names(suites.filter(({ module }) => existsSync(module)))

export const suitesForGuest = (): string[] => names(suites.filter(({ module }) => !existsSync(module)))
