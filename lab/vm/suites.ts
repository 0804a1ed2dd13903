import { existsSync } from 'node:fs'

/** Suites of what not every kernel has: test/vm/NAME, run where the kernel has the module, and in a guest, which has all of them. */
const suites = [
  { name: 'zfs', module: '/sys/module/zfs', isOffered: true },
  // Its kind of pool is not offered yet: run where the kernel has it, and in a guest by name.
  { name: 'lvm-thin', module: '/sys/module/dm_thin_pool', isOffered: false },
] as const

export const suitesOfThisKernel = (): string[] =>
  suites.filter(({ module }) => existsSync(module)).map(({ name }) => name)

export const suitesForGuest = (): string[] =>
  suites.filter(({ module, isOffered }) => isOffered && !existsSync(module)).map(({ name }) => name)
