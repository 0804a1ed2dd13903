import type { ContainerRuntime } from '../containers/runtime.ts'
import type { MoveId } from '../domain/ids.ts'
import type { VolumeHost } from '../volumes/host.ts'
import type { GroupPart, MoveCommand } from './agent.ts'
import type { MoveJournal } from './move-journal.ts'
import type { Watchdog } from './watchdog.ts'

/** What the parts of a move's source share. */
export interface SourceParts {
  readonly host: VolumeHost
  /** With all of its pools: other volumes of a group may lie in others. */
  readonly whole: VolumeHost
  readonly runtime: ContainerRuntime
  readonly journal: MoveJournal
  readonly watchdog: Watchdog
}

export const othersOf = ({ members }: GroupPart, own: MoveId): MoveCommand[] =>
  members.filter(({ moveId }) => moveId !== own)

export const dropSourceJournals = async ({ journal }: SourceParts, command: MoveCommand): Promise<void> => {
  await journal.drop(command.moveId, 'source')
  if (command.returnOf != null) await journal.drop(command.returnOf, 'carried')
}
