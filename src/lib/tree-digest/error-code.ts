/** `EIO` and the like of what a system call threw; anything else is a defect and goes on. */
export const errorCode = (thrown: unknown): string => {
  if (thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' && /^E[A-Z]/.test(thrown.code)) {
    if (!thrown.code.startsWith('ERR_')) return thrown.code
  }
  throw thrown
}
