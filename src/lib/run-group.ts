import { spawn } from 'node:child_process'
import { DroverError } from '../domain/errors.ts'

export interface GroupOptions {
  /** Added to this process's own. */
  readonly env: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

const tailBytes = 4_096

/**
 * Runs somebody else's program in a process group of its own, to its end; at the limit, or when it is interrupted, the whole group
 * gets SIGKILL. What it leaves running at an end of its own is left alone.
 * @returns how it ended, in words for a person; null: well @throws the signal's reason
 */
export const runGroup = (argv: readonly [string, ...string[]], options: GroupOptions): Promise<string | null> => {
  const { env, timeoutMs, signal } = options
  signal.throwIfAborted()
  const [file, ...args] = argv
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', ...env },
    })
    let said = ''
    child.stderr.on('data', (chunk) => {
      said = (said + chunk).slice(-tailBytes)
    })
    const killGroup = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
      } catch {
        // It has ended already.
      }
    }
    const over = (act: () => void) => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      child.stderr.destroy()
      act()
    }
    const onAbort = () => {
      killGroup()
      over(() => reject(signal.reason))
    }
    const timer = setTimeout(() => {
      killGroup()
      over(() => resolve(`it did not end within ${timeoutMs} ms and was killed${lastLine(said)}`))
    }, timeoutMs)
    signal.addEventListener('abort', onAbort, { once: true })
    child.once('error', (error) => over(() => reject(new DroverError('MISSING_PROGRAM', `${file}: ${error.message}`))))
    child.once('exit', (code, by) => {
      // What it said last may still be on its way.
      setImmediate(() =>
        over(() => resolve(code === 0 ? null : `${by === null ? `exit status ${code}` : by}${lastLine(said)}`)),
      )
    })
  })
}

const lastLine = (text: string): string => {
  const line = text.trim().split('\n').at(-1)?.trim() ?? ''
  return line === '' ? '' : `: ${line}`
}
