import { constants } from 'node:os'

/** What Node.js throws for a failed system call, for those that are called past it. @param what the call, and what it was about */
export const errnoError = (syscall: string, errno: number, what = syscall): Error => {
  const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `errno ${errno}`
  return Object.assign(new Error(`${code}: ${what}`), { code, errno, syscall })
}
