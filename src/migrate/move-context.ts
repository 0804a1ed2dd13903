import type { SnapshotRecord } from '../domain/dataset.ts'
import type { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { MoveId } from '../domain/ids.ts'
import { isWithinHost, type MoveRecord } from '../domain/move.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import type { Store } from '../state/store.ts'
import type { Agent, MoveCommand } from './agent.ts'
import type { ProgressBoard } from './progress.ts'
import type { StreamKind } from './stream-kind.ts'

export interface MoverParts {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  readonly progress: ProgressBoard
  /** How many moves a host ships at once; default 4. */
  readonly movesPerHost?: number | undefined
  agent(host: Host): Agent
  hosts(): Promise<Host[]>
  /** Streams between the two may go in plain. */
  trusted(source: Host, target: Host): boolean
  emit(type: string, data: Readonly<Record<string, unknown>>): Promise<void>
  /** The owner has changed or the move ended: hosts should learn of it. */
  publish(): void
  /** A move has ended that is to be taken back. */
  returnSoon(): void
  /** Some host has still to hear that a move ended. */
  reconcileSoon(): void
  /** @throws STORE_BEHIND while a host has seen a newer store than ours */
  mayWrite(): Promise<void>
}

/** One move under way: the row as it is stored now, and both hosts. */
export interface MoveContext {
  readonly parts: MoverParts
  readonly sourceHost: Host
  readonly targetHost: Host
  /** Both give up, whatever they wait for, when `signal` is aborted; from commit on they do not. */
  source: Agent
  target: Agent
  /** The same, for what no cancel and no failure of another member interrupts: undo, and all that comes after commit. */
  readonly insistent: { readonly source: Agent; readonly target: Agent; readonly signal: AbortSignal }
  readonly command: MoveCommand
  /** From commit on aborted only when the control role ends. */
  signal: AbortSignal
  /** Of the lead of a group: the names of the other volumes, whose containers it carries too. */
  readonly alongside?: readonly string[]
  /** An operator has said so: it is gone for good, and nothing writes there. */
  targetIsLost(): boolean
  /** Ends the move, before it has committed, for this reason. */
  interrupt(reason: DroverError): void
  move: MoveRecord
  /** What earlier moves have to tell; read once. */
  past: readonly MoveRecord[] | null
  /** Monotonic time when the writers were told to stop; null after a restart of the control role in between. */
  quiescedAt: number | null
  /** The last snapshot that both ends hold, shipped by this very runner; null after a restart: then both are asked. */
  lastShipped: SnapshotRecord | null
  /** Of the two pools; known as soon as a base was looked for. */
  stream: StreamKind
  /** The volume itself goes, nothing is sent; undefined: not asked yet by this very runner. */
  handsOver?: boolean
  /** Where it then goes, in the storage's words. */
  handoverPlace?: string | undefined
  /** How often the target has answered that it cannot take what was committed now. */
  refusals: number
  /** The containers that wait on the target, as they were captured, in JSON; one that changed since is brought again. */
  brought: string | null
}

export const commandOf = (move: MoveRecord): MoveCommand => ({
  volumeId: move.volumeId,
  volumeName: move.volumeName,
  moveId: move.id,
  epoch: move.epoch,
  returnEpoch: move.returnEpoch,
  ...(move.returnOf === null ? {} : { returnOf: move.returnOf }),
  // A row that was made anew of what the hosts knew may not know them.
  ...(move.sourcePool === '' ? {} : { sourcePool: move.sourcePool }),
  ...(move.targetPool === '' ? {} : { targetPool: move.targetPool }),
  ...(isWithinHost(move) ? { oneHost: true as const } : {}),
})

/** Journals a change of the move's row; a cancel that was stored meanwhile is kept. */
export const journal = async (context: MoveContext, change: Partial<MoveRecord>): Promise<void> => {
  const { store } = context.parts
  const stored = await store.move(context.move.id)
  context.move = await store.updateMove({
    ...context.move,
    ...change,
    cancelRequested: stored?.cancelRequested ?? context.move.cancelRequested,
    version: stored?.version ?? context.move.version,
  })
}

export const eventData = (context: MoveContext, more: Readonly<Record<string, unknown>> = {}) => ({
  move: context.move.id as MoveId,
  volume: context.move.volumeName,
  from: context.sourceHost.name,
  to: context.targetHost.name,
  ...more,
})
