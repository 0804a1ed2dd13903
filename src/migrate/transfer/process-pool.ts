import type { ChildProcess } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Exec } from '../../lib/exec.ts'

const own = fileURLToPath(import.meta.url)
/** Beside this file, as .ts in development and as .js when compiled. */
const mainPath = own.replace(/process-pool\.[jt]s$/, `process-main${extname(own)}`)

const spareMs = 60_000

/**
 * Transfer processes. One that did its work well is kept for a while: the next round of a move finds its code compiled,
 * and no start takes the processor from a stream that runs.
 */
export interface ProcessPool {
  take(): ChildProcess
  /** It ended its transfer well and waits for another. */
  giveBack(child: ChildProcess): void
  /** Starts the spare one, unless there is one; it ends by itself when it is not used for a minute. */
  warm(): void
  close(): void
}

/** @param prepare gets the spare process as soon as it is started */
export const createProcessPool = (exec: Exec, prepare: (child: ChildProcess) => void): ProcessPool => {
  let spare: ChildProcess | null = null
  let timer: NodeJS.Timeout | null = null

  let closed = false

  const start = (): ChildProcess => {
    const child = exec.fork(mainPath, [])
    child.on('error', () => {})
    return child
  }
  const drop = () => {
    if (timer !== null) clearTimeout(timer)
    timer = null
    spare?.kill('SIGKILL')
    spare = null
  }
  const keep = (child: ChildProcess) => {
    spare = child
    if (timer !== null) clearTimeout(timer)
    timer = setTimeout(drop, spareMs).unref()
  }
  return {
    giveBack(child) {
      if (closed || spare?.connected || !child.connected) child.kill('SIGKILL')
      else keep(child)
    },
    take() {
      const child = spare
      spare = null
      if (timer !== null) clearTimeout(timer)
      timer = null
      return child?.connected && child.exitCode === null ? child : start()
    },
    warm() {
      if (spare?.connected) return keep(spare)
      keep(start())
      if (spare !== null) prepare(spare)
    },
    close() {
      closed = true
      drop()
    },
  }
}
