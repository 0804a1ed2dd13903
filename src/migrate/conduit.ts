import type { Argv } from '../backends/backend.ts'
import type { Transfer } from './transfer.ts'

/**
 * Gives `use` the command of one end of a stream, and at the receiving one its StreamFacet's `landing`; what the command needs (a mounted
 * snapshot) is there while `use` runs.
 */
export type Conduit = <T>(use: (argv: Argv, landing?: string) => Promise<T>) => Promise<T>

/** The transfer that `start` begins within the conduit. It is done when the conduit is taken down. */
export const startWithin = async (
  conduit: Conduit,
  start: (argv: Argv, landing?: string) => Promise<Transfer>,
): Promise<Transfer> => {
  const started = Promise.withResolvers<Transfer>()
  const over = conduit(async (argv, landing) => {
    const transfer = await start(argv, landing)
    started.resolve(transfer)
    await transfer.done.catch(() => {})
  })
  over.catch(started.reject)
  const transfer = await started.promise
  const done = over.then(() => transfer.done)
  done.catch(() => {})
  return { done, progress: () => transfer.progress(), abort: () => transfer.abort() }
}
