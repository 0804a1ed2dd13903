import type { HostId } from '../domain/ids.ts'
import type { Agent, MoveCommand } from './agent.ts'
import { asSourceOf } from './sides.ts'
import { othersOf, type SourceParts } from './source-parts.ts'

/** Asks another host to give the move up durably. @throws TOO_LATE, HOST_UNREACHABLE */
export type RefuseAt = (target: HostId, command: MoveCommand) => Promise<void>
type Undo = (args: Parameters<Agent['undoSource']>[0]) => Promise<void>

/** The control role is silent. A seal is ours to end; a release only after the target has durably refused. */
export const settleAlone = async (
  parts: SourceParts,
  command: MoveCommand,
  refuseAt: RefuseAt,
  undo: Undo,
): Promise<void> => {
  const { whole, journal } = parts
  const group = (await journal.source(command.moveId))?.group
  if (group === undefined) return settleOne(parts, command, refuseAt, undo)
  // The lead is activated first: when the target refuses that one it has taken none, and when it has taken it the group goes forward.
  const lead = group.members.find(({ moveId }) => moveId === group.leadId)
  if (lead === undefined) return
  const leads = await journal.source(lead.moveId)
  // With no word of the lead nothing is known of the others either.
  const { record } = await asSourceOf(whole, lead).mustHold(lead.volumeId)
  const released = record.moveId === lead.moveId && record.role === 'released'
  if (released && leads !== null && leads.targetHostId !== null) await refuseAt(leads.targetHostId, lead)
  for (const other of othersOf(group, lead.moveId)) await settleOne(parts, other, refuseAt, undo)
  await settleOne(parts, lead, refuseAt, undo)
}

const settleOne = async (
  { whole, journal }: SourceParts,
  command: MoveCommand,
  refuseAt: RefuseAt,
  undo: Undo,
): Promise<void> => {
  const held = await asSourceOf(whole, command).held(command.volumeId)
  if (held?.record.moveId !== command.moveId) return
  const { role, epoch } = held.record
  const noted = await journal.source(command.moveId)
  if (role === 'owner' || role === 'sealed') {
    await undo({ ...(noted?.command ?? command), ownerEpoch: epoch, abortStored: false })
  }
  if (role !== 'released' || noted === null || noted.targetHostId === null) return
  await refuseAt(noted.targetHostId, noted.command)
  await undo({ ...noted.command, ownerEpoch: noted.command.returnEpoch, abortStored: true })
}
