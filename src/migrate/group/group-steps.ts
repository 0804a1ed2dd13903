import pLimit from 'p-limit'
import { asDroverError, DroverError } from '../../domain/errors.ts'
import { isEnded, type Phase } from '../../domain/move.ts'
import { isoNow } from '../../lib/clock.ts'
import { whileBusy } from '../busy-wait.ts'
import { eventData, journal, type MoveContext } from '../move-context.ts'
import {
  bringContainers,
  carries,
  finalSnapshot,
  mayShipAgain,
  proofFor,
  refuseDurably,
  runContainers,
  steps,
  takesItNoMore,
} from '../steps.ts'
import { each, type GroupContext, groupPartOf, membersOf } from './group-context.ts'

type GroupStep = (group: GroupContext) => Promise<Phase | null>

/** Those that this phase is still to be done for. */
const acting = (group: GroupContext): MoveContext[] => membersOf(group).filter((member) => !group.ahead.has(member))

const stepForEach =
  (phase: Phase, next: Phase): GroupStep =>
  async (group) => {
    await each(group, acting(group), steps[phase])
    return next
  }

/**
 * The phases of a move, each done for all members before the next begins for any: no final snapshot is taken before every writer of
 * every volume is still, none is released before all are proven, and all commit in one transaction.
 */
export const groupSteps: { readonly [P in Phase]: GroupStep } = {
  plan: stepForEach('plan', 'precopy'),

  async precopy(group) {
    const limit = pLimit(group.shipping)
    const ship = () => each(group, acting(group), (member) => limit(() => steps.precopy(member)))
    await ship()
    // The first have grown stale while the last were shipped.
    if (acting(group).length > group.shipping) await ship()
    return 'quiesce'
  },

  async quiesce(group) {
    const { lead, others, parts } = group
    const members = membersOf(group)
    await each(group, members, ({ source, command }) => source.seal({ ...command, onlyIdle: false }))
    const at = parts.clock.monotonic()
    for (const member of members) {
      member.quiescedAt ??= at
      if (member.move.quiescedAt === null) await journal(member, { quiescedAt: isoNow(parts.clock) })
    }
    const still = (member: MoveContext) =>
      whileBusy(member, () => {
        const { source, command, move } = member
        return source.quiesce({ ...command, mode: move.request.quiesce, group: groupPartOf(group) })
      })
    // The lead's writers are those of all: once they are still nobody else has anything mounted.
    const { specs } = await still(lead)
    await each(group, others, still)
    if (carries(lead)) await bringContainers(lead, specs)
    return 'delta'
  },

  async delta(group) {
    await each(group, acting(group), async (member) => {
      // What was verified before may be prepared there. It stays in the row until the next S is, so that it can be named again.
      const { finalSnapshot: snapshot } = member.move
      if (snapshot !== null) await member.target.reopenTarget({ ...member.command, snapshot })
      await steps.delta(member)
    })
    return 'verify'
  },

  verify: stepForEach('verify', 'release'),

  async release(group) {
    const { lead, others, parts } = group
    const release = (proveOnly: boolean) => (member: MoveContext) => {
      const args = {
        snapshot: finalSnapshot(member),
        targetHostId: member.targetHost.id,
        proveOnly,
        ...proofFor(member),
      }
      return whileBusy(member, () => member.source.release({ ...member.command, ...args }))
    }
    // The lead's comes first: it kills what was only paused.
    const proofs = [await release(true)(lead), ...(await each(group, others, release(true)))]
    if (proofs.some(({ changed }) => changed)) {
      for (const member of membersOf(group)) {
        mayShipAgain(member)
        await parts.emit('move.changed-after-snapshot', eventData(member))
        await journal(member, { state: 'open', phase: 'delta' })
      }
      return 'delta'
    }
    const released = [await release(false)(lead), ...(await each(group, others, release(false)))]
    if (!released.some(({ changed }) => changed)) return 'commit'
    throw new DroverError(
      'VOLUME_BUSY',
      `something wrote to a volume of the group of ${lead.command.volumeName} after its writers had ended; find it, then move again`,
    )
  },

  async commit(group) {
    const { store } = group.parts
    const members = membersOf(group)
    await group.parts.mayWrite()
    const stored = await Promise.all(members.map(({ move }) => store.move(move.id)))
    if (stored.every((move) => move?.state === 'verified')) await store.commitMove(members.map(({ move }) => move.id))
    await refresh(group)
    group.parts.publish()
    return 'activate'
  },

  async activate(group) {
    const { parts } = group
    let isFirst = true
    // The lead first, and the others only after it: whoever is refused the lead knows that nothing was taken over.
    for (const member of membersOf(group)) {
      if (isEnded(member.move)) continue
      try {
        await member.target.activate({ ...member.command, snapshot: finalSnapshot(member) })
      } catch (error) {
        if (!takesItNoMore(member, error)) throw error
        await giveBack(isFirst ? membersOf(group) : [member], asDroverError(error))
      }
      isFirst = isFirst && isEnded(member.move)
    }
    const active = membersOf(group).filter(({ move }) => !isEnded(move))
    if (active.includes(group.lead)) await runContainers(group.lead)
    const { downtimeMs } = group.lead.move
    for (const member of active) {
      if (member !== group.lead && downtimeMs !== null) await journal(member, { downtimeMs })
      member.move = await parts.store.activateMove(member.move.id)
    }
    return active.length === 0 ? null : 'retire'
  },

  async retire(group) {
    const others = group.others.filter(({ move }) => !isEnded(move))
    await each(group, others, steps.retire)
    // The lead ends last: as long as it is open, so is the group.
    if (!isEnded(group.lead.move)) await steps.retire(group.lead)
    return null
  },
}

/** The rows as they are stored. */
export const refresh = async (group: GroupContext): Promise<void> => {
  for (const member of membersOf(group)) {
    member.move = (await group.parts.store.move(member.move.id)) ?? member.move
  }
}

/** All are durably refused by the target before the first is given back, the lead last: a restart in between comes to the same end. */
const giveBack = async (members: readonly MoveContext[], error: DroverError): Promise<void> => {
  const back = members.filter(({ move }) => !isEnded(move))
  for (const member of back) await refuseDurably(member)
  for (const member of back.toReversed()) {
    const { store, clock, reconcileSoon, publish } = member.parts
    const reason = { code: error.code, message: error.message }
    member.move = await store.returnMove(member.move.id, reason, isoNow(clock))
    reconcileSoon()
    publish()
  }
}
