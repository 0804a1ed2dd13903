import { existsSync } from 'node:fs'

/** Suites of what not every kernel has: test/vm/NAME, run where the kernel has the module, and in a guest, which has all of them. */
const suites = [{ name: 'zfs', module: '/sys/module/zfs' }] as const

export const suitesOfThisKernel = (): string[] =>
  suites.filter(({ module }) => existsSync(module)).map(({ name }) => name)

export const suitesForGuest = (): string[] => suites.filter(({ module }) => !existsSync(module)).map(({ name }) => name)
