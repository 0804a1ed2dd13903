import { readFileSync } from 'node:fs'
import { request } from 'node:http'
import { join } from 'node:path'
import { LabError, run, until } from './command.ts'
import type { LabHost } from './host.ts'
import { isAlive, type ProcessRef, processInNamespaceOf, signalProcess, waitGone } from './processes.ts'
import { readJson, readRef, writeRef, writeWhole } from './state.ts'

/** Status of a GET over a unix socket, or null when nobody answers within a second. */
const statusOf = (socketPath: string, path: string): Promise<number | null> =>
  new Promise((resolve) => {
    const call = request({ socketPath, path, agent: false, timeout: 1000 }, (response) => {
      response.resume()
      resolve(response.statusCode ?? null)
    })
    call.once('timeout', () => call.destroy())
    call.once('error', () => resolve(null))
    call.end()
  })

/** A daemon of a lab host: started in the background, a child of the host's init, its output in the host's /var/log. */
export class Daemon {
  readonly name: string
  readonly host: LabHost
  readonly socket: string
  private readonly healthPath: string

  constructor(host: LabHost, name: string, socket: string, healthPath: string) {
    this.host = host
    this.name = name
    this.socket = socket
    this.healthPath = healthPath
  }

  /** As the machine numbers it; null when it does not run. */
  get process(): ProcessRef | null {
    const ref = readRef(this.refFile)
    return ref !== null && isAlive(ref) ? ref : null
  }

  /** What it was started with last, by whomever; null when it never was. */
  get lastArgv(): readonly string[] | null {
    return readJson<readonly string[]>(this.argvFile)
  }

  /** All that it ever printed. */
  log(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /** The HTTP status of its health, 200 when it is well; null when it does not answer. */
  async health(): Promise<number | null> {
    return this.host.isUp ? statusOf(this.host.path(this.socket), this.healthPath) : null
  }

  /**
   * Starts it and waits until it is well, or until it has answered for five seconds that it is not: a vold whose engine or
   * control host is down says so and runs. @throws {LabError} with the end of its log
   */
  async start(argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<void> {
    if (this.process !== null) throw new LabError(`${this.name} runs on ${this.host.name} already`)
    writeWhole(this.argvFile, JSON.stringify(argv))
    // setsid becomes the daemon, being no process group leader, so that $! is its number.
    const launch = `setsid "$@" </dev/null >>/var/log/${this.name}.log 2>&1 & echo $!`
    const init = this.host.init
    const { stdout } = await this.host.exec(['bash', '-c', launch, 'bash', ...argv], { env })
    const ref = processInNamespaceOf(init, Number(stdout))
    if (ref === null) throw new LabError(`${this.name} ended at once on ${this.host.name}: ${this.logTail()}`)
    writeRef(this.refFile, ref)
    let answeredAt: number | null = null
    await until(
      `${this.name} on ${this.host.name} to answer`,
      async () => {
        if (!isAlive(ref)) throw new LabError(`${this.name} ended on ${this.host.name}: ${this.logTail()}`)
        const status = await this.health()
        if (status !== null) answeredAt ??= performance.now()
        return status === 200 || (answeredAt !== null && performance.now() - answeredAt > 5000) ? true : null
      },
      { timeoutMs: 90_000, intervalMs: 30 },
    )
  }

  /** Sends the signal and waits for the end; nothing happens when it does not run. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const ref = this.process
    if (ref === null) return
    signalProcess(ref, signal)
    await waitGone(ref, `${this.name} on ${this.host.name}`)
  }

  /** Resident memory, in bytes. */
  async residentBytes(): Promise<number> {
    const ref = this.process
    if (ref === null) throw new LabError(`${this.name} does not run on ${this.host.name}`)
    const { stdout } = await run(['ps', '-o', 'rss=', '-p', String(ref.pid)])
    return Number(stdout) * 1024
  }

  private logTail(): string {
    return this.log().trim().split('\n').slice(-8).join('\n')
  }

  private get refFile(): string {
    return join(this.host.directory, `${this.name}.json`)
  }

  private get argvFile(): string {
    return join(this.host.directory, `${this.name}-argv.json`)
  }

  private get logFile(): string {
    return join(this.host.directory, 'log', `${this.name}.log`)
  }
}
