import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** A directory on disk that is gone when the test ends, failed or not. `finished`: of a test that runs beside others. */
export const temporaryDirectory = async (finished: typeof onTestFinished = onTestFinished): Promise<string> => {
  const path = await mkdtemp(join('/var/tmp', 'drover-'))
  finished(() => rm(path, { recursive: true, force: true }))
  return path
}
