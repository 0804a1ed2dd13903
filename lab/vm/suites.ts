import { existsSync } from 'node:fs'

/** Suites of what not every kernel has: test/vm/NAME, run where the kernel has the module, and in a guest, which has all of them. */
const suites = [
  { name: 'zfs', module: '/sys/module/zfs', isOffered: true },
  // Its kind of pool is not offered yet: run by name only.
  { name: 'lvm-thin', module: '/sys/module/dm_thin_pool', isOffered: false },
] as const

/** @param asked words of the command line: what is not offered yet is run by name only */
export const suitesOfThisKernel = (asked: readonly string[]): string[] =>
  suites
    .filter(({ name, module, isOffered }) => existsSync(module) && (isOffered || asked.includes(name)))
    .map(({ name }) => name)

/** Those that have to run, wherever that is. */
export const offeredSuites = (): string[] => suites.filter(({ isOffered }) => isOffered).map(({ name }) => name)

export const suitesForGuest = (): string[] =>
  suites.filter(({ module, isOffered }) => isOffered && !existsSync(module)).map(({ name }) => name)
