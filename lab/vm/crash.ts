import { constants } from 'node:os'

const crashes = ['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGFPE'] as const

/** @returns a line for who reads the output of a command that broke, with what its kernel said last; null: it did not break */
export const crashOf = (status: number, lastSaid: string): string | null => {
  const signal = crashes.find((each) => status === 128 + constants.signals[each])
  return signal === undefined
    ? null
    : `the guest's command ended by ${signal}; its console said last: ${lastSaid || '(nothing)'}`
}
