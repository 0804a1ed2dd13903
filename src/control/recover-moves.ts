import type { Epoch } from '../domain/dataset.ts'
import type { HostId, MoveId } from '../domain/ids.ts'
import { atBegin, isEnded, type MoveRecord } from '../domain/move.ts'
import type { MoveCommand } from '../migrate/agent.ts'
import { commandOf } from '../migrate/move-context.ts'
import type { Copy, Facts } from './recover-facts.ts'

export interface RecoveredMove {
  readonly move: MoveRecord
  readonly ownerEpoch: Epoch | null
}

const asTarget = ['receiving', 'prepared', 'refused']
const asSource = ['owner', 'sealed', 'released']

/** The command's numbers, from whoever journaled them; else from the record and the ledger, which heard them when it began. */
export const commandIn = (facts: Facts, copy: Copy, moveId: MoveId): MoveCommand => {
  const { record, host } = copy
  const noted = facts.journal(moveId, 'source') ?? facts.journal(moveId, 'target')
  if (noted !== null) return noted.note.command
  const stored = facts.move(moveId)
  if (stored !== null) return commandOf(stored)
  const epoch = record.seen
  const heard = facts.heardOn(host.id, record.volumeId)
  return {
    volumeId: record.volumeId,
    volumeName: record.name,
    moveId,
    epoch,
    returnEpoch: Math.max(heard, epoch + 1),
  }
}

/** It wrote `owner` at the move's own epoch: the move has to be finished, not undone. */
const tookOver = (facts: Facts, { host, record }: Copy, moveId: MoveId): boolean => {
  if (record.role !== 'owner') return false
  const noted = facts.journal(moveId, 'source')
  // Within one host the journal is there too, and tells the pool that it is of.
  const { oneHost, sourcePool, epoch } = commandIn(facts, { host, record }, moveId)
  if (noted?.hostId === host.id && (oneHost !== true || sourcePool === record.pool)) return false
  return record.epoch === epoch
}

/**
 * What becomes of each move of the volume whose owner is `owner` (or will be). One that the owner itself took over as a target goes on;
 * what others hold as targets is given up; what the store alone remembers is closed where its end is plain, else forgotten.
 */
export const movesUnder = (
  facts: Facts,
  owner: Copy,
  now: string,
): { moves: RecoveredMove[]; forget: MoveId[]; open: MoveId | null } => {
  const { volumeId } = owner.record
  const moves: RecoveredMove[] = []
  let open: MoveId | null = null
  for (const copy of facts.copies(volumeId)) {
    const { moveId, role } = copy.record
    if (moveId === null || moves.some(({ move }) => move.id === moveId)) continue
    if (tookOver(facts, copy, moveId)) {
      if (copy !== owner) continue
      open = moveId
      const base = copy.record.snapshot
      const sourceHostId = sourceOf(facts, copy, moveId) ?? likelySource(facts, copy, moveId)
      const move = moveOf(facts, copy, moveId, { sourceHostId, targetHostId: copy.host.id }, now)
      moves.push({
        move: { ...move, ...committed, finalSnapshot: base },
        ownerEpoch: owner.record.epoch,
      })
      continue
    }
    if (copy !== owner && !asTarget.includes(role)) continue
    const stored = facts.move(moveId)
    if (stored !== null && isEnded(stored)) continue
    const isSource = copy === owner
    const sourceHostId = isSource ? copy.host.id : (sourceOf(facts, copy, moveId) ?? owner.host.id)
    const targetHostId = isSource ? otherEnd(facts, copy, moveId) : copy.host.id
    const move = moveOf(facts, copy, moveId, { sourceHostId, targetHostId }, now)
    moves.push({ move: { ...move, ...undone(now) }, ownerEpoch: owner.record.epoch })
  }
  const forget: MoveId[] = []
  for (const move of facts.movesOf(volumeId)) {
    if (isEnded(move) || moves.some((other) => other.move.id === move.id)) continue
    const isTaken = owner.host.id === move.targetHostId && owner.record.epoch >= move.epoch
    if (isTaken) moves.push({ move: { ...move, state: 'done', endedAt: now }, ownerEpoch: move.epoch })
    else if (owner.host.id === move.sourceHostId) {
      moves.push({ move: { ...move, ...undone(now) }, ownerEpoch: owner.record.epoch })
    } else forget.push(move.id)
  }
  return { moves, forget, open }
}

/** A member that the target has not taken yet, of a group that has committed. */
export const goesOn = (facts: Facts, source: Copy, target: Copy, moveId: MoveId, now: string): RecoveredMove => {
  const ends = { sourceHostId: source.host.id, targetHostId: target.host.id }
  const move = moveOf(facts, target, moveId, ends, now)
  const { snapshot } = target.record
  return {
    move: { ...move, ...committed, finalSnapshot: snapshot },
    ownerEpoch: commandIn(facts, source, moveId).epoch,
  }
}

const committed = { state: 'committed', phase: 'activate', error: null, endedAt: null } as const

const undone = (now: string) => ({
  state: 'aborted' as const,
  error: {
    code: 'MOVE_FAILED' as const,
    message: 'the state store was lost; vol recover undid the move by the hosts records',
  },
  endedAt: now,
})

const sourceOf = (facts: Facts, target: Copy, moveId: MoveId): HostId | null => {
  if (isOfOneHost(facts, target, moveId)) return target.host.id
  const copy = facts
    .copies(target.record.volumeId)
    .find((other) => other.record !== target.record && other.record.moveId === moveId)
  return copy?.host.id ?? facts.journal(moveId, 'source')?.hostId ?? facts.move(moveId)?.sourceHostId ?? null
}

/** Somebody's journal says so, or the source that has ended it is in another pool of the target's host. */
const isOfOneHost = (facts: Facts, target: Copy, moveId: MoveId): boolean =>
  commandIn(facts, target, moveId).oneHost === true ||
  facts
    .copies(target.record.volumeId)
    .some(
      ({ host, record }) =>
        host.id === target.host.id && record.moveId !== moveId && record.endedMoves.includes(moveId),
    )

/**
 * Nobody is the source any more: the host that has retired it, the owner before, whoever is silent, anybody else. A host without
 * anything of the move retires nothing; the target itself could never.
 */
const likelySource = (facts: Facts, { host, record }: Copy, moveId: MoveId): HostId => {
  const others = facts.given.hosts.filter(({ id }) => id !== host.id)
  const retired = others.find(({ id }) => facts.hasEndedOn(id, record.volumeId, moveId))
  if (retired !== undefined) return retired.id
  const before = facts.evidence(record.volumeId).find(({ epoch, hostId }) => epoch < record.epoch && hostId !== host.id)
  const silent = facts.silent().find(({ id }) => id !== host.id)
  return before?.hostId ?? silent?.id ?? others[0]?.id ?? host.id
}

/** The target, when its copy or somebody's journal tells; a host that does not answer may be it, and hears of it when it is back. */
const otherEnd = (facts: Facts, source: Copy, moveId: MoveId): HostId => {
  const copy = facts
    .copies(source.record.volumeId)
    .find((other) => other.record !== source.record && other.record.moveId === moveId)
  const noted = facts.journal(moveId, 'source')?.note.targetHostId ?? facts.journal(moveId, 'target')?.hostId
  return copy?.host.id ?? noted ?? facts.move(moveId)?.targetHostId ?? source.host.id
}

/** As the store has it, or made anew of what the hosts know; people's options of it are lost then. */
const moveOf = (
  facts: Facts,
  copy: Copy,
  moveId: MoveId,
  ends: { sourceHostId: HostId; targetHostId: HostId },
  now: string,
): MoveRecord => {
  const stored = facts.move(moveId)
  if (stored !== null) return stored
  const { record } = copy
  const { epoch, returnEpoch, returnOf } = commandIn(facts, copy, moveId)
  const { sourcePool, targetPool } = poolsOf(facts, copy, moveId, ends)
  return {
    ...atBegin,
    id: moveId,
    volumeId: record.volumeId,
    volumeName: record.name,
    ...ends,
    sourcePool,
    targetPool,
    epoch,
    returnEpoch,
    returnOf: returnOf ?? null,
    ...groupIdOf(facts, moveId),
    request: {
      to: facts.hostName(ends.targetHostId),
      quiesce: 'stop',
      containers: hadContainers(facts, moveId) ? 'move' : 'stop',
      dropMounts: [],
      healthTimeoutMs: 60_000,
      onlyIdle: false,
    },
    forecast: null,
    warnings: ['its row was made anew by vol recover'],
    startedAt: now,
  }
}

/** The target's journal tells of them; within one host they stay, and the source's is enough to start them again. */
const hadContainers = (facts: Facts, moveId: MoveId): boolean =>
  facts.journal(moveId, 'target') !== null || facts.journal(moveId, 'source')?.note.command.oneHost === true

/** As somebody journaled them, or as the records there say; empty: nobody knows. */
const poolsOf = (
  facts: Facts,
  copy: Copy,
  moveId: MoveId,
  { sourceHostId, targetHostId }: { sourceHostId: HostId; targetHostId: HostId },
): { sourcePool: string; targetPool: string } => {
  const noted = commandIn(facts, copy, moveId)
  const poolOn = (id: HostId, isTarget: boolean, orTheOne: (copy: Copy) => boolean) => {
    const there = facts.copies(copy.record.volumeId).filter(({ host }) => host.id === id)
    const [inMove, others] = [true, false].map((is) => there.filter(({ record }) => (record.moveId === moveId) === is))
    const ofSide = inMove?.find((other) => isOfTarget(facts, other, moveId) === isTarget)
    const [one, ...more] = (others ?? []).filter(orTheOne)
    return (ofSide ?? (more.length === 0 ? one : undefined))?.record.pool ?? ''
  }
  // A row whose target nobody knows names the source's host at both ends: the pool that was noted is another host's then, and what else
  // this host holds is no target. A copy there that is the target's in this very move tells all the same.
  const isKnown = sourceHostId !== targetHostId || noted.oneHost === true
  return {
    sourcePool:
      noted.sourcePool ??
      poolOn(
        sourceHostId,
        false,
        ({ record }) => isKnown || asSource.includes(record.role) || record.endedMoves.includes(moveId),
      ),
    targetPool: (isKnown ? noted.targetPool : undefined) ?? poolOn(targetHostId, true, () => isKnown),
  }
}

const isOfTarget = (facts: Facts, copy: Copy, moveId: MoveId): boolean =>
  asTarget.includes(copy.record.role) || tookOver(facts, copy, moveId)

const groupIdOf = (facts: Facts, moveId: MoveId): { groupId?: MoveId } => {
  const group = facts.journal(moveId, 'source')?.note.group
  return group === undefined ? {} : { groupId: group.leadId }
}
