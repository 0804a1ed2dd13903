import type { Clock } from './clock.ts'

/** A command of the system that has not ended yet. */
export interface RunningCommand {
  readonly argv: readonly string[]
  readonly pid: number | null
  /** Monotonic milliseconds. */
  readonly startedAt: number
  /** It took too long and got SIGKILL; one that waits in the kernel for a disk does not heed even that. */
  killed: boolean
}

/** The commands under way, so that whoever waits for one can be told which. */
export class RunningCommands {
  readonly #clock: Pick<Clock, 'monotonic'>
  readonly #running = new Set<RunningCommand>()

  constructor(clock: Pick<Clock, 'monotonic'>) {
    this.#clock = clock
  }

  /** @returns the entry, and what takes it away when the command has ended */
  begin(argv: readonly string[], pid: number | null): { command: RunningCommand; end: () => void } {
    const command: RunningCommand = { argv, pid, startedAt: this.#clock.monotonic(), killed: false }
    this.#running.add(command)
    return { command, end: () => void this.#running.delete(command) }
  }

  /**
   * The longest-running command with `text` in its arguments, such as a volume's id, in words for a person: `'btrfs subvolume show
   * /pool/x' (pid 4711) since 61 s`. Null when there is none.
   */
  about(text: string): string | null {
    const [first] = [...this.#running]
      .filter(({ argv }) => argv.some((word) => word.includes(text)))
      .toSorted((one, other) => one.startedAt - other.startedAt)
    if (first === undefined) return null
    const seconds = Math.floor((this.#clock.monotonic() - first.startedAt) / 1000)
    const stuck = first.killed ? ', which does not end although it was killed' : ''
    return `'${first.argv.join(' ')}' (pid ${first.pid ?? 'unknown'}) since ${seconds} s${stuck}`
  }
}
