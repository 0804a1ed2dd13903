import type { HostId, MoveId } from '../domain/ids.ts'
import type { Copy, Facts } from './recover-facts.ts'

/**
 * The target's copy of a volume that was released, when its group is known to have committed: the store commits all members of a group in
 * one transaction, and the target takes the first of them only after that. So one that it owns by now proves the commit of the others,
 * and what it holds prepared of these is what was committed. Null: nothing proves it.
 */
export const committedWithGroup = (facts: Facts, source: Copy, moveId: MoveId, targetId: HostId): Copy | null => {
  const group = facts.journal(moveId, 'source')?.note.group
  const prepared = facts
    .copies(source.record.volumeId)
    .find(({ host, record }) => host.id === targetId && record.role === 'prepared' && record.moveId === moveId)
  if (group === undefined || prepared === undefined || prepared.record.snapshot === null) return null
  const isTaken = group.members.some((member) =>
    facts
      .copies(member.volumeId)
      .some(({ host, record }) => host.id === targetId && record.role === 'owner' && record.epoch === member.epoch),
  )
  return isTaken ? prepared : null
}
