import { ulid } from 'ulid'
import type { Epoch } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { type MoveId, moveId } from '../domain/ids.ts'
import { atBegin, type MoveRecord, type MoveRequest } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import { isoNow } from '../lib/clock.ts'
import type { SourceObservation, TargetReport } from '../migrate/agent.ts'
import { learnDowntime, pastMoves } from '../migrate/forecast.ts'
import type { Mover } from '../migrate/mover.ts'
import { commonBase, makePlan, type Plan } from '../migrate/plan.ts'
import { streamKindOf } from '../migrate/stream-kind.ts'
import type { AskedMove, MovePlan } from './control.ts'
import { hostByName, volumeByName } from './lookup.ts'
import type { ControlParts } from './parts.ts'
import { costOf } from './price-file.ts'
import { checkKnown, checkNoMove } from './volumes-control.ts'

export interface Observed {
  /** With the host that was meant. */
  readonly request: MoveRequest
  readonly volume: Volume
  readonly from: Host
  readonly to: Host
  readonly source: SourceObservation
  readonly target: TargetReport
  readonly plan: Plan
}

/** So long who asks for a plan, or for a move, waits for what is an estimate. */
const plannedWithinMs = 30_000

/**
 * Looks at both hosts and refuses what cannot be done, before anything is touched.
 * @param alongside the other volumes of its group, whose containers it carries too; null: another one of the group carries its own
 */
export const observe = async (
  parts: ControlParts,
  name: string,
  asked: AskedMove,
  alongside: readonly string[] | null = [],
  returnOf: MoveId | null = null,
): Promise<Observed> => {
  const volume = await volumeByName(parts.store, name)
  const from = await parts.hostById(volume.ownerHostId)
  const to = asked.to === undefined ? from : await hostByName(parts.store, asked.to)
  const request: MoveRequest = { ...asked, to: to.name }
  checkKnown(volume)
  if (volume.state !== 'ready') {
    throw new DroverError('VOLUME_UNKNOWN', `volume ${name} is ${volume.state}; it cannot be moved`)
  }
  checkWhereTo(volume, from, to, asked)
  checkNoMove(volume)
  const source = await parts
    .agent(from)
    .observe({ volumeId: volume.id, volumeName: name, alongside: alongside ?? [], returnOf })
  const carries = request.containers === 'move' && !request.onlyIdle && alongside !== null
  const specs = carries && to.id !== from.id ? source.specs : []
  const target = await parts
    .agent(to)
    .checkTarget({ volumeId: volume.id, pool: request.pool ?? null, specs, dropMounts: request.dropMounts })
  const base = commonBase(source, target)
  const command = { volumeId: volume.id, volumeName: name, moveId: moveId('0'.repeat(26)), epoch: 0, returnEpoch: 0 }
  // By snapshots of the storage's own nothing of it is sent, and to tell it all of the volume would have to be read.
  const isTold = base !== null && streamKindOf(source, target) !== 'snapshot'
  const changedBytes = !isTold
    ? null
    : await parts.agent(from).changedBytes({ ...command, snapshot: base.name, withinMs: plannedWithinMs })
  const plan = makePlan({
    volumeName: name,
    from: from.name,
    to: to.name,
    targetPool: target.pool.spec,
    request,
    source,
    target,
    changedBytes,
    isOfGroup: alongside === null || alongside.length > 0,
    downtime: learnDowntime(
      { volumeId: volume.id, sourceHostId: from.id, targetHostId: to.id, request },
      await pastMoves(parts.store, volume.id),
    ),
  })
  return { request, volume, from, to, source, target, plan }
}

/** @throws MOVE_TO_ITSELF, BAD_REQUEST */
const checkWhereTo = ({ name, pool }: Volume, from: Host, to: Host, asked: AskedMove): void => {
  if (asked.to === undefined && asked.pool === undefined) {
    throw new DroverError(
      'BAD_REQUEST',
      `where volume ${name} goes is missing; name a host with --to, or another pool of its host with --pool`,
    )
  }
  if (to.id !== from.id) return
  if (asked.pool === undefined) {
    throw new DroverError(
      'MOVE_TO_ITSELF',
      `volume ${name} is on host ${to.name} already; name another host, or with --pool another pool`,
    )
  }
  if (asked.pool === pool) {
    throw new DroverError('MOVE_TO_ITSELF', `volume ${name} is in pool ${pool} on host ${to.name} already`)
  }
  if (asked.verify !== true) return
  throw new DroverError(
    'BAD_REQUEST',
    `the two copies of volume ${name} on host ${to.name} cannot be compared yet; leave --verify out, each round is proved as it arrives`,
  )
}

export const planMove = async (parts: ControlParts, name: string, request: AskedMove): Promise<MovePlan> =>
  planView(parts, await observe(parts, name, request))

/** @throws BAD_CONFIG when the price file is needed, and cannot be used */
export const planView = async (
  parts: Pick<ControlParts, 'prices'>,
  { volume, from, to, source, target, plan }: Observed,
): Promise<MovePlan> => ({
  volume: volume.name,
  from: from.name,
  to: to.name,
  targetPool: target.pool.spec,
  strategy: plan.strategy,
  base: plan.base?.name ?? null,
  forecast: plan.forecast,
  cloud: plan.cloud === null ? null : { ...plan.cloud, cost: costOf(plan.cloud, await parts.prices()) },
  containers: source.uses.map((use) => ({ name: use.name, state: use.state })),
  freeBytesOnTarget: target.pool.freeBytes,
})

/** One move of a volume at a time: the store decides. */
export const startMove = async (
  parts: ControlParts,
  mover: Mover,
  name: string,
  request: AskedMove,
  returnOf: MoveId | null = null,
): Promise<MoveRecord> => {
  await parts.mayWrite()
  const observed = await observe(parts, name, request, [], returnOf)
  const id = moveId(ulid(parts.clock.now()).toLowerCase())
  const move = await parts.store.beginMove(observed.volume, (epoch, returnEpoch) => ({
    ...newMove(parts, id, observed, epoch, returnEpoch),
    returnOf,
  }))
  await parts.emit('move.started', { move: id, volume: name, from: observed.from.name, to: observed.to.name, returnOf })
  mover.start(move)
  return move
}

export const newMove = (
  parts: ControlParts,
  id: MoveId,
  { request, volume, from, to, target, plan }: Observed,
  epoch: Epoch,
  returnEpoch: Epoch,
): MoveRecord => ({
  ...atBegin,
  id,
  volumeId: volume.id,
  volumeName: volume.name,
  sourceHostId: from.id,
  targetHostId: to.id,
  sourcePool: volume.pool,
  targetPool: target.pool.spec,
  epoch,
  returnEpoch,
  request,
  forecast: plan.forecast,
  startedAt: isoNow(parts.clock),
})
