import type { ChildProcess, StdioOptions } from 'node:child_process'
import { setPriority } from 'node:os'
import type { Argv } from '../../backends/backend.ts'
import { spawnBound } from '../../lib/spawn.ts'
import { streamFailed } from './failure.ts'

const stderrTailBytes = 4096
const stderrMs = 300
/**
 * The commands of both ends are what a stream waits for, one thread each; what carries its bytes can wait for them. On a small machine they
 * would take turns. Containers have shares of their own.
 */
const niceness = -10

/** The command of one end of a stream. */
export interface StreamCommand {
  readonly child: ChildProcess
  /** Resolves on exit status 0. @throws STREAM_FAILED with argv, exit status and the tail of stderr. */
  readonly ended: Promise<void>
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>
}

/** `stdin` and `stdout` as for spawn; stderr is kept, its tail at least. */
export const startStreamCommand = (argv: Argv, stdin: StdioSlot, stdout: StdioSlot): StreamCommand => {
  const child = spawnBound(argv, [stdin, stdout, 'pipe'])
  prefer(child)
  let tail = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    tail = (tail + text).slice(-stderrTailBytes)
  })
  const closed = Promise.withResolvers<void>()
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', (error) => {
      closed.resolve()
      reject(streamFailed(`${argv.join(' ')} could not be started: ${error.message}`, { argv }))
    })
    child.once('exit', (exitCode, signal) => {
      // The tail is whole once stderr was read to its end; something the command left behind may keep it open for ever.
      const { stderr } = child
      if (stderr === null || stderr.closed) return settle(exitCode, signal)
      const timer = setTimeout(() => stderr.destroy(), stderrMs)
      stderr.once('close', () => {
        clearTimeout(timer)
        settle(exitCode, signal)
      })
    })
    const settle = (exitCode: number | null, signal: string | null) => {
      closed.resolve()
      if (exitCode === 0) return resolve()
      const how = signal === null ? `exit status ${exitCode}` : `signal ${signal}`
      const last = tail.trim().split('\n').slice(-3).join('; ')
      reject(
        streamFailed(`${argv.join(' ')} ended with ${how}${last === '' ? '' : `: ${last}`}`, {
          argv,
          exitCode,
          signal,
          stderr: tail,
          ...(signal === null ? {} : { died: true }),
        }),
      )
    }
  })
  ended.catch(() => {})
  return {
    child,
    ended,
    kill: () => {
      child.kill('SIGKILL')
      return closed.promise
    },
  }
}
export type StdioSlot = Exclude<StdioOptions, string>[number]

/** As far as we may: without root everything goes on, as fast as it can. */
const prefer = ({ pid }: ChildProcess): void => {
  if (pid === undefined) return
  try {
    setPriority(pid, niceness)
  } catch {
    // It may have ended, too.
  }
}
