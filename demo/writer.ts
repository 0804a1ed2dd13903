import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { LabError, until } from '../lab/command.ts'
import type { LabHost } from '../lab/host.ts'
import { port } from './database.ts'
import { type Note, readNotes } from './notes.ts'

/** The client, as a process on the lab's network, and what it has noted. */
export class Writer {
  readonly #child: ChildProcess
  readonly #directory: string
  readonly #ended: Promise<number | null>

  /** @param from whose network it is on  @param hosts where it looks for the database, in turn */
  constructor(from: LabHost, hosts: readonly LabHost[]) {
    this.#directory = mkdtempSync('/var/tmp/drover-demo-')
    const addresses = hosts.map((host) => `${host.address}:${port}`)
    const argv = ['node', join(import.meta.dirname, 'client.ts'), this.#file, ...addresses]
    this.#child = from.spawn(argv, ['pipe', 'ignore', 'ignore'])
    this.#ended = new Promise((resolve, reject) => {
      this.#child.once('error', reject)
      this.#child.once('close', resolve)
    })
    this.#ended.catch(() => {})
  }

  get #file(): string {
    return join(this.#directory, 'acknowledged')
  }

  notes(): Note[] {
    return readNotes(this.#file)
  }

  /** Resolves when `count` more rows have been acknowledged by the database on that host. */
  async awaitNotes(host: LabHost, count: number): Promise<void> {
    const before = this.#countAt(host)
    await until(`${count} rows acknowledged on ${host.name}`, () => {
      if (this.#child.exitCode !== null) throw new LabError(`the client has ended (exit ${this.#child.exitCode})`)
      return this.#countAt(host) >= before + count ? true : null
    })
  }

  /** @returns all that was acknowledged */
  async stop(): Promise<Note[]> {
    this.#child.stdin?.end()
    await this.#ended
    return this.notes()
  }

  /** Ends it whatever it is at and removes its file. */
  dispose(): void {
    this.#child.kill('SIGKILL')
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #countAt(host: LabHost): number {
    try {
      return this.notes().filter(({ address }) => address === `${host.address}:${port}`).length
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0
      throw error
    }
  }
}
