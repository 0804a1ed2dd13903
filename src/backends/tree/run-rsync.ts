import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { spawnBound } from '../../lib/spawn.ts'
import type { Argv } from '../backend.ts'

export interface RunningRsync {
  readonly child: ChildProcess
  /** @throws Error with what it said first, which is the cause, and its exit status */
  readonly ended: Promise<void>
}

const keptChars = 2_000

/** Nothing in this process's surroundings may change what rsync does. */
const clearSurroundings = (): void => {
  for (const name of Object.keys(process.env)) {
    if (name.startsWith('RSYNC_') || name === 'HOME' || name === 'POSIXLY_CORRECT') delete process.env[name]
  }
}

export const runRsync = (argv: Argv, stdin: 'ignore' | 'pipe'): RunningRsync => {
  clearSurroundings()
  const child = spawnBound(argv, [stdin, 'ignore', 'pipe'])
  let said = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    if (said.length < keptChars) said += text
  })
  // Its pipe breaks when it ends early; why it did is told by `ended`.
  child.stdin?.on('error', () => {})
  const ended = once(child, 'close').then(([code, signal]) => {
    if (code === 0) return
    const lines = said.trim().split('\n').slice(0, 3).join('; ')
    throw new Error(`rsync ended with ${signal === null ? `exit status ${code}` : signal}: ${lines}`)
  })
  ended.catch(() => {})
  return { child, ended }
}
