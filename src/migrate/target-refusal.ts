import type { ContainerRuntime } from '../containers/runtime.ts'
import { isWaitingName } from '../containers/waiting-name.ts'
import { DroverError } from '../domain/errors.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { isMountedHere, proveUnused, unmountOurs } from '../volumes/usage.ts'
import type { MoveCommand } from './agent.ts'
import type { MoveJournal } from './move-journal.ts'
import { dropMoveSnapshots } from './move-snapshots.ts'
import { bareCommand, checkBound, ended, isBound, write } from './role-change.ts'

/** Where the streams of a move go until they have come whole. */
export const partialName = (command: { moveId: string }): string => `move-${command.moveId}`

/** How a target gives a move up: for ever, and with all that the move made here. */
export class TargetRefusal {
  readonly #host: VolumeHost
  readonly #runtime: ContainerRuntime
  readonly #journal: MoveJournal

  constructor(host: VolumeHost, runtime: ContainerRuntime, journal: MoveJournal) {
    this.#host = host
    this.#runtime = runtime
    this.#journal = journal
  }

  /** Durable before anything is removed: from `refused` on, this host takes nothing of the move any more. */
  async refuse(args: MoveCommand): Promise<void> {
    await this.#host.locks.run(args.volumeId, async () => {
      const { epochs } = this.#host
      const found = await this.#host.held(args.volumeId)
      // A copy that is bound elsewhere is void here: it is neither what was prepared, nor ours to remove.
      const held = found !== null && isBound(this.#host, found) ? found : null
      // Also when the move has ended in this way: nobody may take the volume back on the strength of our answer.
      if (held?.record.role === 'owner' && held.record.epoch === args.epoch) throw this.#tooLate(args)
      if (held === null || held.record.moveId !== args.moveId || epochs.hasEnded(args.volumeId, args.moveId)) {
        // What has been agreed since is not known here. Whoever asks has lost his memory.
        if (epochs.seen(args.volumeId) > args.returnEpoch) epochs.check(args.volumeId, args.moveId, args.returnEpoch)
        // No command of the move is obeyed without its record. Where the disk was rolled back, the engine may have kept what it made.
        if (!epochs.hasEnded(args.volumeId, args.moveId)) await this.#removeContainers(args)
        await epochs.record(args.volumeId, args.returnEpoch, args.moveId)
        return
      }
      // The source's copy is in the same move, and may be the only one: whoever takes this host for the target is wrong.
      if (!['receiving', 'prepared', 'refused'].includes(held.record.role)) throw this.#notTarget(args, held)
      const refused = await write(held, { role: 'refused', seen: Math.max(held.record.seen, args.returnEpoch) })
      await this.#clear(refused, args)
    })
  }

  /** Removes what a refused move made here, its own mark last. */
  async #clear(refused: Held, args: MoveCommand): Promise<void> {
    await this.#removeContainers(args)
    // Within one host what is mounted at the path is the source's, whose writers may be back.
    if (args.oneHost !== true || (await isMountedHere(this.#host, refused))) await unmountOurs(this.#host, refused)
    await proveUnused(this.#host, refused)
    await this.#dropReceived(refused, args)
    await this.#host.epochs.record(args.volumeId, args.returnEpoch, args.moveId)
    await this.#journal.drop(args.moveId, 'target')
  }

  #notTarget({ moveId }: MoveCommand, { record }: Held): DroverError {
    return new DroverError(
      'STALE_EPOCH',
      `volume ${record.name} is ${record.role} in move ${moveId} on host ${this.#host.identity.hostName}, which is not its target; nothing was done`,
    )
  }

  #tooLate(args: MoveCommand): DroverError {
    return new DroverError(
      'TOO_LATE',
      `host ${this.#host.identity.hostName} owns volume ${args.volumeName} since move ${args.moveId}; going back is another move`,
    )
  }

  /** A copy that was a replica before is one again at its old base; else all of it goes. */
  async #dropReceived(refused: Held, args: MoveCommand): Promise<void> {
    const { backend } = refused
    await backend.streams?.abortReceive(args.volumeId, partialName(args))
    await backend.destroyLive(args.volumeId)
    const kept = await dropMoveSnapshots(refused, args, null)
    const base = kept.record.snapshots.at(-1)
    if (base === undefined) {
      await backend.destroy(args.volumeId)
      return
    }
    const keepUntil = new Date(this.#host.clock.now() + 24 * 3_600_000).toISOString()
    await write(kept, {
      ...ended(kept.record, args),
      role: 'replica',
      datasetUuid: null,
      snapshot: base.name,
      keepUntil,
    })
  }

  /** Those that wait, and one that got its name, but was never started before the disk was rolled back. */
  async #removeContainers(args: MoveCommand): Promise<void> {
    // Within one host the target makes none; what bears the move's id was made again by the source.
    if (args.oneHost === true) return
    for (const { id, moveId, name, neverStarted } of await this.#runtime.madeByMoves()) {
      if (moveId !== args.moveId) continue
      if (neverStarted || isWaitingName(name, moveId)) await this.#runtime.remove(id)
    }
  }

  /** What an earlier move was refused with may not all be removed yet: that is finished first, or nobody would know of it any more. */
  async cleared(args: MoveCommand, held: Held | null): Promise<Held | null> {
    if (held === null || held.record.role !== 'refused') return held
    const { moveId, seen } = held.record
    if (moveId === null || moveId === args.moveId) return held
    checkBound(this.#host, held)
    await this.#clear(held, { ...bareCommand(args), moveId, epoch: seen, returnEpoch: seen })
    return this.#host.held(args.volumeId)
  }
}
