import { asDroverError, DroverError, hasCode } from '../../domain/errors.ts'
import { isEnded, type Phase, phases } from '../../domain/move.ts'
import { isoNow } from '../../lib/clock.ts'
import { eventData, journal, type MoveContext } from '../move-context.ts'
import type { Place } from '../queue/move-queue.ts'
import { each, type GroupContext, isCommitted, membersOf } from './group-context.ts'
import { groupSteps, refresh } from './group-steps.ts'

/** What the mover lends: whether it is closing, its place in the queue, and how it goes on for ever after commit. */
export interface GroupHands {
  readonly place: Place
  isClosing(): boolean
  insist<T>(context: MoveContext, work: () => Promise<T>): Promise<T>
}

const indexOf = ({ move }: MoveContext): number => phases.indexOf(move.phase)

/** From where the least advanced member is. Whatever fails before commit is undone for all; after it only forward. */
export const runGroup = async (group: GroupContext, hands: GroupHands): Promise<void> => {
  if (membersOf(group).every(({ move }) => isEnded(move))) return
  const least = membersOf(group).reduce((one, other) => (indexOf(other) < indexOf(one) ? other : one))
  group.ahead = new Set(membersOf(group).filter((member) => indexOf(member) > indexOf(least)))
  const cancelled = membersOf(group).some(({ move }) => move.cancelRequested && !isCommitted(move))
  if (cancelled) return undoGroup(group, hands, cancelledError(group))
  return forward(group, hands, least.move.phase)
}

const forward = async (group: GroupContext, hands: GroupHands, from: Phase): Promise<void> => {
  for (let next: Phase | null = from; next !== null; ) {
    if (!membersOf(group).some(({ move }) => isCommitted(move))) {
      try {
        group.lead.signal.throwIfAborted()
        await hands.place.enter(next, () => void group.parts.emit('move.queued', eventData(group.lead)))
        const phase: Phase = next
        group.ahead = new Set([...group.ahead].filter((member) => indexOf(member) > phases.indexOf(phase)))
        await enter(group, phase)
        next = await groupSteps[phase](group)
      } catch (error) {
        if (hands.isClosing() || hasCode(error, 'STORE_BEHIND')) throw error
        await refresh(group)
        if (!membersOf(group).some(({ move }) => isCommitted(move))) {
          return undoGroup(group, hands, asDroverError(error))
        }
      }
    } else {
      hands.place.leave()
      for (const member of membersOf(group)) Object.assign(member, member.insistent)
      const active = membersOf(group).every(({ move }) => move.state === 'active' || isEnded(move))
      const phase: Phase = active ? 'retire' : 'activate'
      next = await hands.insist(group.lead, async () => {
        await refresh(group)
        await enter(group, phase)
        return groupSteps[phase](group)
      })
    }
  }
  for (const member of membersOf(group)) {
    const type = member.move.state === 'done' ? 'move.done' : 'move.aborted'
    await group.parts.emit(type, eventData(member, { downtimeMs: member.move.downtimeMs }))
  }
}

const enter = async (group: GroupContext, phase: Phase): Promise<void> => {
  for (const member of membersOf(group)) {
    if (group.ahead.has(member) || isEnded(member.move)) continue
    if (member.move.phase !== phase) await journal(member, { phase })
    await group.parts.emit('move.phase', eventData(member, { phase }))
  }
}

/**
 * As a single move is undone: before any release was journaled the writers run first and the abort is stored after, from then on
 * the other way round. The lead, which has the containers, comes after those whose volumes these need.
 */
const undoGroup = async (group: GroupContext, hands: GroupHands, error: DroverError): Promise<void> => {
  const { lead, others, parts } = group
  const { store, clock, logger } = parts
  group.stopShipping(error)
  logger.warn({ group: lead.move.id, code: error.code, reason: error.message }, 'undoing the moves of a group')
  const mayHaveReleased = membersOf(group).some((member) => indexOf(member) >= phases.indexOf('release'))
  const epochs = new Map<MoveContext['move']['id'], number>()
  for (const { move } of membersOf(group)) {
    epochs.set(move.id, mayHaveReleased ? move.returnEpoch : ((await store.volume(move.volumeId))?.epoch ?? 0))
  }
  const putBack = (abortStored: boolean) => async (member: MoveContext) => {
    const ownerEpoch = epochs.get(member.move.id) ?? 0
    await attempt(group, () => member.insistent.source.undoSource({ ...member.command, ownerEpoch, abortStored }))
  }
  await parts.mayWrite()
  if (!mayHaveReleased) {
    await each(group, others, putBack(false))
    await putBack(false)(lead)
  }
  const reason = { code: error.code, message: error.message }
  try {
    await store.abortGroup(lead.move.id, epochs, reason, isoNow(clock))
  } catch (stored) {
    if (!hasCode(stored, 'TOO_LATE')) throw stored
    await refresh(group)
    return forward(group, hands, 'activate')
  }
  await refresh(group)
  for (const member of membersOf(group)) {
    await parts.emit('move.aborted', eventData(member, { code: error.code, reason: error.message }))
  }
  const putAllBack = async (): Promise<void> => {
    await each(group, others, putBack(true))
    await putBack(true)(lead)
  }
  // The lead's containers on the target use all of the volumes.
  const refuseAll = async (): Promise<void> => {
    for (const { insistent, command } of membersOf(group)) {
      await attempt(group, () => insistent.target.refuseTarget(command))
    }
  }
  await Promise.all([putAllBack(), refuseAll()])
  parts.publish()
}

/** What does not answer now is taken up by the reconciler when it does. */
const attempt = async ({ parts, lead }: GroupContext, work: () => Promise<unknown>): Promise<void> => {
  try {
    await work()
  } catch (error) {
    const reason = asDroverError(error).message
    parts.logger.warn({ group: lead.move.id, reason }, 'undo goes on when the host answers')
    parts.reconcileSoon()
  }
}

const cancelledError = ({ lead }: GroupContext): DroverError =>
  new DroverError('MOVE_CANCELLED', `the group of move ${lead.move.id} was cancelled; its volumes stay where they were`)
