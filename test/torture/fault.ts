import type { LabHost } from '../../lab/host.ts'
import type { Phase } from '../../src/domain/move.ts'
import type { Random } from '../simulation/random.ts'
import type { Stage } from './stage.ts'

/** One move under a fault: who plays which part, and the chance that times it. */
export interface Scene {
  readonly stage: Stage
  readonly control: LabHost
  readonly source: LabHost
  readonly target: LabHost
  readonly phase: Phase
  readonly random: Random
  /** Taken when the cell ends, however it ends, last first. */
  readonly afterwards: (() => Promise<unknown>)[]
}

export interface Fault {
  /** As `--only` names it. */
  readonly name: string
  readonly says: string
  /** Why it cannot be in this phase; null: it can. */
  notIn(phase: Phase): string | null
  /** Before the move begins. */
  prepare?(scene: Scene): Promise<void>
  /** False: there was nothing to strike. */
  strike(scene: Scene): Promise<boolean>
  /** What an init system or people do: start again what died, plug in what was pulled. */
  mend(scene: Scene): Promise<void>
  /** Whose `vold` is killed, and started again by `mend`. */
  restarts?(scene: Scene): LabHost
  /** `soon`: after a moment. `settled`: when what can be settled under the fault has been. */
  readonly mended: 'soon' | 'settled'
  /** Phases in which nobody may be able to write until it is mended: docs/move-protocol.md, "What can still go wrong". */
  readonly noWriterIn: readonly Phase[]
  /** Where a copy that was superseded may stay: fenced, and people's to remove. */
  readonly leavesCopyOn?: 'source'
}

export const everywhere = (): null => null
