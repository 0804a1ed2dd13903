import { type ChildProcess, spawn } from 'node:child_process'

export interface CommandOptions {
  /** Kills it. */
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs: number
  /** Default: it has no input. */
  readonly input?: string | undefined
}

/** How a command ended. */
export interface Ended {
  readonly stdout: string
  readonly stderr: string
  /** Null: by a signal, or it could not be started. */
  readonly exitCode: number | null
  /** What it was killed for by us; null: it was not. */
  readonly killedFor: 'time' | 'signal' | 'output' | null
  /** Why it could not be started, or which signal ended it. */
  readonly cause: Error | undefined
}

/** Of each of its streams; one that says more is killed. */
const mostBytes = 64 * 2 ** 20

const live = new Set<ChildProcess>()
let isWatched = false
/** None goes on for a process that has ended. */
const endWithUs = (child: ChildProcess): void => {
  live.add(child)
  if (isWatched) return
  isWatched = true
  process.on('exit', () => {
    for (const each of live) each.kill('SIGKILL')
  })
}

/**
 * Starts a command and takes what it says. `ended` settles, never with an error, when the process has ended and both its streams with it.
 * By hand, for a volume that is made, mounted or moved takes dozens of commands, and a library's care for what they do not need costs more
 * processor time than to start them.
 */
export const startCommand = (
  [file, ...args]: readonly [string, ...string[]],
  { signal, timeoutMs, input }: CommandOptions,
): { readonly pid: number | undefined; readonly ended: Promise<Ended> } => {
  const stdin = input === undefined ? 'ignore' : 'pipe'
  let child: ChildProcess
  try {
    child = spawn(file, args, { stdio: [stdin, 'pipe', 'pipe'], env: { ...process.env, LC_ALL: 'C' } })
  } catch (cause) {
    // An argument that no process can be given.
    return { pid: undefined, ended: Promise.resolve(notStarted(cause)) }
  }
  endWithUs(child)
  let killedFor: Ended['killedFor'] = null
  const kill = (why: Ended['killedFor']) => {
    if (killedFor !== null) return
    killedFor = why
    child.kill('SIGKILL')
  }
  const said = { stdout: taken(child.stdout, () => kill('output')), stderr: taken(child.stderr, () => kill('output')) }
  // One that ends without reading all of it says so by its exit status.
  child.stdin?.on('error', () => {}).end(input)
  const settled = new Promise<Ended>((resolve) => {
    // Also what a kill that is not permitted says; then it ends when it ends.
    child.on('error', (error) => {
      if (child.pid === undefined) resolve(notStarted(error))
    })
    child.once('close', (exitCode, by) => {
      const cause = by === null ? undefined : new Error(`it was ended by ${by}`)
      resolve({ stdout: said.stdout(), stderr: said.stderr(), exitCode, killedFor, cause })
    })
  })
  const timer = setTimeout(() => kill('time'), timeoutMs)
  const onAbort = () => kill('signal')
  if (signal?.aborted === true) onAbort()
  signal?.addEventListener('abort', onAbort, { once: true })
  const ended = settled.finally(() => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
    live.delete(child)
  })
  return { pid: child.pid, ended }
}

const notStarted = (cause: unknown): Ended => ({
  ...{ stdout: '', stderr: '', exitCode: null, killedFor: null },
  cause: cause instanceof Error ? cause : new Error(String(cause)),
})

/** @returns tells what the stream brought */
const taken = (stream: ChildProcess['stdout'], onTooMuch: () => void): (() => string) => {
  const chunks: Buffer[] = []
  let bytes = 0
  stream?.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > mostBytes) onTooMuch()
    else chunks.push(chunk)
  })
  return () => Buffer.concat(chunks).toString()
}
