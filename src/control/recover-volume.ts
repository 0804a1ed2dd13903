import type { Epoch } from '../domain/dataset.ts'
import type { HostId, MoveId, VolumeId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import type { MoveCommand } from '../migrate/agent.ts'
import type { Copy, Evidence, Facts } from './recover-facts.ts'
import { committedWithGroup } from './recover-group.ts'
import { commandIn, goesOn, movesUnder, type RecoveredMove } from './recover-moves.ts'

/**
 * `owner`: a record says so. `taken-back`: nobody owned it, its source and its target agreed. `unknown`: nothing touches it until more
 * hosts answer. `dropped`: no host knows of it any more. `left`: rests of a volume that is not there; they are left alone.
 */
export type Outcome = 'owner' | 'taken-back' | 'unknown' | 'dropped' | 'left'

export interface VolumeDecision {
  readonly volumeId: VolumeId
  readonly name: string
  readonly outcome: Outcome
  readonly hostId: HostId | null
  /** For a person. */
  readonly reason: string
  /** Null: no row. */
  readonly row: Volume | null
  readonly moves: readonly RecoveredMove[]
  readonly forgetMoves: readonly MoveId[]
  /** Before this comes true, this host has durably to give the move up. */
  readonly refusal: { readonly hostId: HostId; readonly command: MoveCommand } | null
  /** Superseded owners: they fence themselves when they hear of it. */
  readonly superseded: readonly HostId[]
}

const claims = (copy: Copy): boolean => copy.record.role === 'owner' || copy.record.role === 'sealed'

/** Who owns the volume by the hosts' records. Pure. `newEpoch` gives a number above all that were used. */
export const decideVolume = (
  facts: Facts,
  id: VolumeId,
  newEpoch: (above: Epoch) => Epoch,
  now: string,
): VolumeDecision => {
  const copies = facts.copies(id)
  const holders = copies.filter(claims).toSorted((one, other) => other.record.epoch - one.record.epoch)
  const [winner, second] = holders
  if (winner !== undefined) {
    if (second?.record.epoch === winner.record.epoch) {
      return unknown(
        facts,
        id,
        `hosts ${winner.host.name} and ${second.host.name} both claim it at epoch ${second.record.epoch}`,
      )
    }
    const later = facts
      .evidence(id)
      .find(({ epoch, hostId }) => epoch > winner.record.epoch && hostId !== winner.host.id)
    if (later !== undefined) return unknown(facts, id, superseding(facts, winner, later))
    if (winner.record.datasetUuid === null)
      return left(facts, id, `it was never made whole on host ${winner.host.name}`)
    return owned(facts, id, winner, holders.slice(1), now)
  }
  const released = copies
    .filter(({ record }) => record.role === 'released')
    .toSorted((one, other) => other.record.epoch - one.record.epoch)[0]
  if (released !== undefined) return takenBack(facts, id, released, newEpoch, now)
  return without(facts, id)
}

const superseding = (facts: Facts, winner: Copy, { epoch, hostId }: Evidence): string => {
  const who = hostId === null ? 'another host' : `host ${facts.hostName(hostId)}`
  return `host ${winner.host.name} claims it at epoch ${winner.record.epoch}, ${who} has owned it at ${epoch} since`
}

const owned = (facts: Facts, id: VolumeId, winner: Copy, losers: readonly Copy[], now: string): VolumeDecision => {
  const { record, host } = winner
  const { moves, forget, open } = movesUnder(facts, winner, now)
  const superseded = losers.map((copy) => copy.host)
  const also =
    superseded.length === 0 ? '' : `; superseded: ${superseded.map(({ name }) => name).join(', ')}, kept as diverged`
  const why =
    record.moveId === null
      ? `its record there says ${record.role}`
      : `its record there says ${record.role}, ${open === null ? 'its move is undone' : 'its move goes on'}`
  return {
    volumeId: id,
    name: record.name,
    outcome: 'owner',
    hostId: host.id,
    reason: `${why}${also}`,
    row: { ...rowOf(facts, winner, record.epoch), openMoveId: open },
    moves,
    forgetMoves: forget,
    refusal: null,
    superseded: superseded.map((other) => other.id),
  }
}

/** Neither owns: the source has released, the target has not taken. Only both together make the source the owner again. */
const takenBack = (
  facts: Facts,
  id: VolumeId,
  source: Copy,
  newEpoch: (above: Epoch) => Epoch,
  now: string,
): VolumeDecision => {
  const { host, record } = source
  const { moveId } = record
  if (moveId === null) return unknown(facts, id, `host ${host.name} has released it, to whom is not known`)
  const command = commandIn(facts, source, moveId)
  const targetId = targetOf(facts, id, source, moveId)
  if (targetId === null) return unknown(facts, id, `host ${host.name} has released it, to whom is not known`)
  if (!facts.answered(targetId)) {
    return unknown(
      facts,
      id,
      `host ${host.name} has released it to host ${facts.hostName(targetId)}, which does not answer`,
    )
  }
  const later = facts
    .evidence(id)
    .find(
      ({ epoch, hostId }) =>
        epoch > record.epoch && !(epoch === command.epoch && hostId === targetId) && hostId !== host.id,
    )
  if (later !== undefined) return unknown(facts, id, superseding(facts, source, later))
  const prepared = committedWithGroup(facts, source, moveId, targetId)
  if (prepared !== null) return takenWithGroup(facts, source, prepared, moveId, now)
  const epoch = newEpoch(facts.highest(id))
  const { moves, forget } = movesUnder(facts, source, now)
  return {
    volumeId: id,
    name: record.name,
    outcome: 'taken-back',
    hostId: host.id,
    reason: `released there and not taken by host ${facts.hostName(targetId)}, which gives the move up`,
    row: rowOf(facts, source, epoch),
    moves: moves.map((other) => ({ ...other, ownerEpoch: other.move.id === moveId ? epoch : other.ownerEpoch })),
    forgetMoves: forget,
    refusal: { hostId: targetId, command },
    superseded: [],
  }
}

/** The group has committed, so this member has too: it goes on, as the others do. */
const takenWithGroup = (facts: Facts, source: Copy, target: Copy, moveId: MoveId, now: string): VolumeDecision => {
  const { volumeId, name } = source.record
  const recovered = goesOn(facts, source, target, moveId, now)
  const { epoch } = recovered.move
  return {
    volumeId,
    name,
    outcome: 'owner',
    hostId: target.host.id,
    reason: `its group has committed: host ${target.host.name} has taken another volume of it; its move goes on`,
    row: { ...rowOf(facts, target, epoch), openMoveId: moveId },
    moves: [recovered],
    forgetMoves: openMoves(facts, volumeId).filter((id) => id !== moveId),
    refusal: null,
    superseded: [],
  }
}

const targetOf = (facts: Facts, id: VolumeId, source: Copy, moveId: MoveId): HostId | null => {
  const other = facts.copies(id).find((copy) => copy.record !== source.record && copy.record.moveId === moveId)
  const target = facts.journal(moveId, 'target')
  const noted = facts.journal(moveId, 'source')?.note.targetHostId
  return noted ?? other?.host.id ?? target?.hostId ?? facts.move(moveId)?.targetHostId ?? null
}

/** Nobody claims it, nobody released it. */
const without = (facts: Facts, id: VolumeId): VolumeDecision => {
  const copies = facts.copies(id)
  const entry = facts.entry(id)
  const row = facts.row(id)
  if (
    entry !== null ||
    row?.state === 'unknown' ||
    (row !== null && facts.silent().some((host) => host.id === row.ownerHostId))
  ) {
    const ownerId = entry?.ownerHostId ?? row?.ownerHostId
    const owner = ownerId === undefined ? null : facts.host(ownerId)
    if (owner === null) return unknown(facts, id, 'its owner is no host of the cluster any more')
    const what = facts.answered(owner.id) ? 'does not own it by its record' : 'does not answer'
    return unknown(facts, id, `its owner was host ${owner.name}, which ${what}`)
  }
  if (copies.length > 0) {
    const rests = copies.map(({ host, record }) => `${record.role} on host ${host.name}`)
    return left(
      facts,
      id,
      `not in the table of names, only rests are there (${rests.join(', ')}); they were left alone`,
    )
  }
  return { ...left(facts, id, 'no host knows of it any more'), outcome: 'dropped' }
}

const left = (facts: Facts, id: VolumeId, reason: string): VolumeDecision => ({
  volumeId: id,
  name: nameOf(facts, id),
  outcome: 'left',
  hostId: null,
  reason,
  row: null,
  moves: [],
  forgetMoves: openMoves(facts, id),
  refusal: null,
  superseded: [],
})

/** Nothing is done and nothing may be done: its moves are forgotten, for what the store says of them is not known to be so. */
export const unknown = (facts: Facts, id: VolumeId, reason: string): VolumeDecision => ({
  ...left(facts, id, reason),
  outcome: 'unknown',
  row: unknownRow(facts, id),
})

const openMoves = (facts: Facts, id: VolumeId): MoveId[] =>
  facts
    .movesOf(id)
    .filter(isOpen)
    .map((move) => move.id)

const isOpen = ({ state }: MoveRecord): boolean => state !== 'done' && state !== 'aborted'

const nameOf = (facts: Facts, id: VolumeId): string =>
  facts.entry(id)?.name ?? facts.row(id)?.name ?? facts.copies(id)[0]?.record.name ?? id

const unknownRow = (facts: Facts, id: VolumeId): Volume => {
  const entry = facts.entry(id)
  const row = facts.row(id)
  const copies = facts.copies(id)
  const last = facts
    .evidence(id)
    .toSorted((one, other) => other.epoch - one.epoch)
    .find(({ hostId }) => hostId !== null)
  const copy = copies.find(({ host }) => host.id === last?.hostId) ?? copies[0]
  const ownerHostId = last?.hostId ?? copy?.host.id ?? facts.given.hosts[0]?.id
  if (ownerHostId === undefined) throw new TypeError('a cluster without a host')
  const epoch = last?.epoch ?? 0
  return {
    id,
    name: nameOf(facts, id),
    state: 'unknown',
    ownerHostId,
    pool:
      copies.find(({ host }) => host.id === ownerHostId)?.record.pool ??
      row?.pool ??
      facts.host(ownerHostId)?.pools[0] ??
      '',
    epoch,
    reservedEpoch: Math.max(epoch, facts.highest(id)),
    openMoveId: null,
    sizeBytes: entry?.sizeBytes ?? row?.sizeBytes ?? copy?.record.sizeBytes ?? null,
    labels: entry?.labels ?? row?.labels ?? copy?.record.labels ?? {},
    options: entry?.options ?? row?.options ?? copy?.record.options ?? {},
    createdAt: entry?.createdAt ?? row?.createdAt ?? copy?.record.createdAt ?? '',
    version: 1,
  }
}

const rowOf = (facts: Facts, { host, record }: Copy, epoch: Epoch): Volume => {
  const row = facts.row(record.volumeId)
  const size: Record<string, string> = record.sizeBytes === null ? {} : { size: String(record.sizeBytes) }
  return {
    id: record.volumeId,
    name: record.name,
    state: row?.state === 'deleting' ? 'deleting' : 'ready',
    ownerHostId: host.id,
    pool: record.pool,
    epoch,
    reservedEpoch: Math.max(epoch, facts.highest(record.volumeId)),
    openMoveId: null,
    sizeBytes: record.sizeBytes,
    labels: record.labels,
    options: facts.entry(record.volumeId)?.options ?? row?.options ?? { ...size, ...record.options },
    createdAt: record.createdAt,
    version: 1,
  }
}
