import type { ContainerRuntime, ContainerSpec } from '../containers/runtime.ts'
import { waitingName } from '../containers/waiting-name.ts'
import type { VolumeHost } from '../volumes/host.ts'
import type { MoveCommand, PreparedContainer } from './agent.ts'
import type { MoveJournal } from './move-journal.ts'
import { bareCommand, exclusively, hear, heldIn } from './role-change.ts'

/** The containers that a move carries along, on its target: made before the source lets go, started once the target owns the volume. */
export class TargetContainers {
  readonly #host: VolumeHost
  readonly #runtime: ContainerRuntime
  readonly #journal: MoveJournal

  constructor(host: VolumeHost, runtime: ContainerRuntime, journal: MoveJournal) {
    this.#host = host
    this.#runtime = runtime
    this.#journal = journal
  }

  /** Rule 11: made, without copy-up and not started, before the source lets go. */
  async prepare(args: MoveCommand & { specs: readonly ContainerSpec[]; dropMounts: readonly string[] }): Promise<void> {
    await hear(this.#host, args)
    await heldIn(this.#host, args, 'receiving', 'prepared')
    const wanted = new Set(args.specs.map(({ name }) => waitingName(name, args.moveId)))
    for (const { id, name, moveId } of await this.#runtime.madeByMoves()) {
      if (moveId === args.moveId && !wanted.has(name)) await this.#runtime.remove(id)
    }
    const containers: PreparedContainer[] = []
    for (const spec of args.specs) {
      // Each under the lock, and only while the move is on: a late call must make nothing after a refusal.
      await exclusively(this.#host, args, async () => {
        await heldIn(this.#host, args, 'receiving', 'prepared')
        const id = await this.#runtime.create(spec, waitingName(spec.name, args.moveId), args.moveId, args.dropMounts)
        containers.push({ id, spec })
      })
    }
    await exclusively(this.#host, args, async () => {
      await heldIn(this.#host, args, 'receiving', 'prepared')
      await this.#journal.writeTarget({ command: bareCommand(args), containers })
    })
  }

  async start(args: MoveCommand): Promise<{ started: number }> {
    const journal = await this.#journal.target(args.moveId)
    await heldIn(this.#host, args, 'owner')
    const containers = journal?.containers ?? []
    await Promise.all(containers.map((container) => this.#startOne(container)))
    return { started: containers.filter(({ spec }) => spec.wasRunning).length }
  }

  /** Within one host: the source's own, which it has started again, are those whose health is awaited. */
  async startedAgain(args: MoveCommand, containers: readonly PreparedContainer[]): Promise<{ started: number }> {
    await heldIn(this.#host, args, 'owner')
    await this.#journal.writeTarget({ command: bareCommand(args), containers })
    return { started: containers.filter(({ spec }) => spec.wasRunning).length }
  }

  async #startOne({ id, spec }: PreparedContainer): Promise<void> {
    await this.#runtime.rename(id, spec.name)
    if (spec.wasRunning) {
      await this.#runtime.start(id)
      if (spec.wasPaused) await this.#runtime.pause(id)
    }
    await this.#runtime.rearm(id, spec.restartPolicy)
  }

  async awaitHealthy(args: MoveCommand & { timeoutMs: number }): Promise<{ problem: string | null }> {
    const containers = (await this.#journal.target(args.moveId))?.containers ?? []
    const running = containers.filter(({ spec }) => spec.wasRunning && !spec.wasPaused)
    const problems = await Promise.all(
      running.map(async ({ id, spec }) => {
        const reason = await this.#runtime.awaitHealthy(id, args.timeoutMs)
        return reason === null ? null : `container ${spec.name}: ${reason}`
      }),
    )
    return { problem: problems.filter((problem) => problem !== null).join('; ') || null }
  }
}
