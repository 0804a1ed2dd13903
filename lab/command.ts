import { execa } from 'execa'

/** What went wrong in the lab, in one line; it never leaves the lab's own commands and tests. */
export class LabError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause })
    this.name = 'LabError'
  }
}

export interface CommandOptions {
  readonly input?: string | undefined
  /** Milliseconds; SIGKILL then. Default 120,000. */
  readonly timeoutMs?: number | undefined
  /** The whole environment; default: ours. */
  readonly env?: NodeJS.ProcessEnv | undefined
  readonly cwd?: string | undefined
}

export interface CommandResult {
  /** The exit status; 128 and more: ended by that signal, as a shell counts. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a command to its end, whatever its exit status. @throws {LabError} when it cannot be started or takes too long */
export const tryRun = async (argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> => {
  const [file = '', ...args] = argv
  const timeoutMs = options.timeoutMs ?? 120_000
  const result = await execa(file, args, {
    reject: false,
    stripFinalNewline: false,
    maxBuffer: 256 * 2 ** 20,
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    ...(options.input === undefined ? { stdin: 'ignore' as const } : { input: options.input }),
    ...(options.env === undefined ? {} : { env: options.env, extendEnv: false }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  })
  if (result.timedOut)
    throw new LabError(`${argv.join(' ')} did not end within ${timeoutMs} ms: ${result.stderr.trim()}`)
  if (result.exitCode === undefined && result.signal === undefined) {
    throw new LabError(`${argv.join(' ')} could not be started: ${result.shortMessage ?? ''}`, result.cause)
  }
  return { exitCode: result.exitCode ?? 128, stdout: result.stdout, stderr: result.stderr }
}

/** Runs a command that must succeed. @throws {LabError} with the tail of what it said */
export const run = async (argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> => {
  const result = await tryRun(argv, options)
  if (result.exitCode === 0) return result
  const said = (result.stderr.trim() || result.stdout.trim()).split('\n').slice(-5).join(' | ')
  throw new LabError(`${argv.join(' ')} failed (exit ${result.exitCode}): ${said}`)
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Asks until the answer is neither null nor undefined.
 * @param what names what is awaited, for the error
 * @throws {LabError} after `timeoutMs`
 */
export const until = async <T>(
  what: string,
  ask: () => Promise<T | null | undefined> | T | null | undefined,
  { timeoutMs = 30_000, intervalMs = 20 } = {},
): Promise<T> => {
  const end = performance.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== null && answer !== undefined) return answer
    if (performance.now() > end) throw new LabError(`${what}: not within ${timeoutMs} ms`)
    await sleep(intervalMs)
  }
}
