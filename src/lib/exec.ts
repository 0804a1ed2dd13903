import { type ChildProcess, fork, type StdioOptions, spawn } from 'node:child_process'
import { DroverError } from '../domain/errors.ts'
import { systemClock } from './clock.ts'
import { startCommand } from './command.ts'
import { isErrno } from './files.ts'
import type { Logger } from './logger.ts'
import { RunningCommands } from './running-commands.ts'

export interface RunOptions {
  readonly signal?: AbortSignal
  /** Milliseconds; the process gets SIGKILL then. Default 60,000. */
  readonly timeoutMs?: number
  readonly input?: string
}

export interface RunResult {
  readonly stdout: string
  readonly stderr: string
}

/** A command that ended badly, with its evidence; rooms turn `stderr` into their own typed errors. */
export class CommandError extends DroverError {
  readonly argv: readonly string[]
  readonly exitCode: number | null
  readonly stderr: string

  constructor(argv: readonly string[], exitCode: number | null, stderr: string, cause?: unknown) {
    const last = stderr.trim().split('\n').at(-1) ?? ''
    super(
      'COMMAND_FAILED',
      `${argv.join(' ')} failed (${exitCode === null ? 'no exit status' : `exit ${exitCode}`})${last === '' ? '' : `: ${last}`}`,
      {
        details: { argv, exitCode, stderr: stderr.slice(-4096) },
        cause,
      },
    )
    this.name = 'CommandError'
    this.argv = argv
    this.exitCode = exitCode
    this.stderr = stderr
  }
}

/** The only way in this house to start a process. Argument arrays, never a shell. */
export interface Exec {
  /**
   * Runs a command to its end.
   * @throws {CommandError} on an exit status other than 0, MISSING_PROGRAM when the program is not installed, TIMED_OUT.
   */
  run(argv: readonly [string, ...string[]], options?: RunOptions): Promise<RunResult>
  /** Starts a process whose byte streams the caller joins itself. */
  spawn(argv: readonly [string, ...string[]], stdio: StdioOptions): ChildProcess
  /** Starts a module of this project in a Node process of its own, with an IPC channel. */
  fork(modulePath: string, args: readonly string[]): ChildProcess
  /**
   * The same for work that must disturb nobody: least processor and disk, and the kernel ends it with this process, however that
   * happens.
   */
  forkQuietly(modulePath: string, args: readonly string[]): ChildProcess
}

const quietly = ['setpriv', '--pdeathsig', 'KILL', '--', 'ionice', '-t', '-c', '3', 'nice', '-n', '19'] as const

const stderrTailBytes = 16_384

/** After SIGKILL a process ends at once, but for one that the kernel holds. */
const killedMs = 2_000

/**
 * `run` settles only when its process has ended, also one that was killed for its time: whoever holds a lock for it holds it until
 * then, for what may still be done must not be taken for done or not done.
 */
export const createExec = (logger: Logger, running = new RunningCommands(systemClock)): Exec => ({
  async run(argv, options = {}) {
    const { signal, input, timeoutMs = 60_000 } = options
    const startedAt = performance.now()
    const { pid, ended } = startCommand(argv, { signal, input, timeoutMs })
    const { command, end } = running.begin(argv, pid ?? null)
    const stuck = setTimeout(() => {
      command.killed = true
      logger.error(
        { argv, pid, timeoutMs },
        'a command does not end although it was killed; what it works on stays busy until it does',
      )
    }, timeoutMs + killedMs)
    const { stdout, exitCode, killedFor, cause, ...result } = await ended.finally(() => {
      clearTimeout(stuck)
      end()
    })
    const stderr = result.stderr.slice(-stderrTailBytes)
    logger.debug({ argv, ms: Math.round(performance.now() - startedAt), exitCode }, 'command')
    if (exitCode === 0 && killedFor === null) return { stdout, stderr }
    if (killedFor === 'signal') {
      throw signal?.reason ?? new DroverError('TIMED_OUT', `${argv.join(' ')} was cancelled`)
    }
    if (killedFor === 'time') {
      throw new DroverError('TIMED_OUT', `${argv.join(' ')} did not end within ${timeoutMs} ms and was killed`)
    }
    if (isErrno(cause, 'ENOENT')) {
      const [file] = argv
      throw new DroverError(
        'MISSING_PROGRAM',
        `${file} is not installed; install it (Debian: apt-get install ${debianPackages[file] ?? file})`,
      )
    }
    throw new CommandError(argv, exitCode, stderr, cause)
  },

  spawn(argv, stdio) {
    const [file, ...args] = argv
    logger.debug({ argv }, 'spawn')
    const child = spawn(file, args, { stdio, env: { ...process.env, LC_ALL: 'C' } })
    const { end } = running.begin(argv, child.pid ?? null)
    child.once('exit', end).once('error', end)
    return child
  },

  fork(modulePath, args) {
    // bin/vold's flags for a process that idles are not for one that carries data.
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'ipc']
    return fork(modulePath, args, { stdio, serialization: 'advanced', execArgv: [] })
  },

  forkQuietly(modulePath, args) {
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'ipc']
    const [first, ...rest] = quietly
    return fork(modulePath, args, {
      stdio,
      serialization: 'advanced',
      execPath: first,
      execArgv: [...rest, process.execPath],
    })
  },
})

const debianPackages: Readonly<Record<string, string>> = {
  btrfs: 'btrfs-progs',
  'mkfs.btrfs': 'btrfs-progs',
  mount: 'mount',
  umount: 'mount',
  losetup: 'mount',
  fallocate: 'util-linux',
  fsfreeze: 'util-linux',
  fstrim: 'util-linux',
  blkid: 'util-linux',
  mke2fs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  xfs_growfs: 'xfsprogs',
  zfs: 'zfsutils-linux',
  zpool: 'zfsutils-linux',
  zstream: 'zfsutils-linux',
  lvs: 'lvm2',
  dmsetup: 'dmsetup',
  thin_delta: 'thin-provisioning-tools',
}
