import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A directory on disk that is gone when the test ends, failed or not. */
export const temporaryDirectory = async (): Promise<string> => {
  const path = await mkdtemp(join('/var/tmp', 'drover-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  return path
}
