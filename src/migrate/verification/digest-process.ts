import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { DroverError } from '../../domain/errors.ts'
import type { Exec } from '../../lib/exec.ts'
import type { Order, Report } from './ipc.ts'

const own = fileURLToPath(import.meta.url)
/** Beside this file, as .ts in development and as .js when compiled. */
const mainPath = own.replace(/digest-process\.[jt]s$/, `process-main${extname(own)}`)

export type Outcome = Exclude<Report, { kind: 'progress' | 'failed' }>

/** Runs one order in a process of its own, which is gone when this settles. @throws COMMAND_FAILED */
export const runOrder = (
  exec: Exec,
  order: Order,
  signal: AbortSignal,
  onProgress: (progress: Extract<Report, { kind: 'progress' }>) => void,
): Promise<Outcome> => {
  const { promise, resolve, reject } = Promise.withResolvers<Outcome>()
  const child = exec.forkQuietly(mainPath, [])
  const failed = (how: string) =>
    new DroverError('COMMAND_FAILED', `reading the snapshot at ${order.top} ended: ${how}`)
  let outcome: Outcome | DroverError | null = null
  const end = () => void child.kill('SIGKILL')
  signal.addEventListener('abort', end, { once: true })
  child.on('message', (report: Report) => {
    if (report.kind === 'progress') return onProgress(report)
    outcome = report.kind === 'failed' ? failed(report.message) : report
    end()
  })
  child.on('error', (error) => {
    outcome ??= failed(error.message)
    if (child.pid === undefined) reject(outcome)
  })
  // Only when it is gone is its progress file nobody's.
  child.once('exit', (code, by) => {
    signal.removeEventListener('abort', end)
    if (outcome === null) reject(failed(by === null ? `exit status ${code}` : `signal ${by}`))
    else if (outcome instanceof DroverError) reject(outcome)
    else resolve(outcome)
  })
  if (signal.aborted) end()
  else child.send(order, () => {})
  return promise
}
