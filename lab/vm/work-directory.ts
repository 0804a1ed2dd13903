import { rmSync } from 'node:fs'
import { constants } from 'node:os'
import { type ProcessRef, processRef, signalProcess, waitGone } from '../processes.ts'

interface Work {
  readonly directory: string
  child: ProcessRef | null
}

const under: Set<Work> = new Set()

/**
 * The directory goes when `use` has ended, and with this process when that is told to end before. What runs in it is named by
 * `runs`: it ends first.
 */
export const withWorkDirectory = async <T>(
  directory: string,
  use: (runs: (pid: number | undefined) => ProcessRef | null) => Promise<T>,
): Promise<T> => {
  const work: Work = { directory, child: null }
  under.add(work)
  try {
    return await use((pid) => {
      work.child = pid === undefined ? null : processRef(pid)
      return work.child
    })
  } finally {
    await clear(work)
  }
}

const clear = async (work: Work): Promise<void> => {
  if (work.child !== null) {
    signalProcess(work.child, 'SIGKILL')
    await waitGone(work.child, work.directory)
  }
  rmSync(work.directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  under.delete(work)
}

/** For the program's main file: a signal that ends it leaves nothing behind. */
export const clearOnSignals = (): void => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      void Promise.allSettled([...under].map(clear)).then(() => process.exit(128 + constants.signals[signal]))
    })
  }
}
