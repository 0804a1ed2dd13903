import type { SnapshotRecord } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { MoveForecast, MoveRequest } from '../domain/move.ts'
import type { SourceObservation, TargetReport } from './agent.ts'
import { type CloudUse, cloudUseOf } from './cloud-use.ts'
import { assumedBytesPerSecond, type DowntimeModel, forecastDowntimeMs, ofSnapshots } from './forecast.ts'
import { canHandOver } from './handover/handover-plan.ts'
import { nestedError } from './source-side.ts'
import { identityFor, type StreamKind, streamKindOf } from './stream-kind.ts'

export interface Plan {
  readonly strategy: `${StreamKind}-${'full' | 'incremental'}` | 'handover'
  readonly base: SnapshotRecord | null
  readonly forecast: MoveForecast
  /** Null: nobody asks money for it. */
  readonly cloud: CloudUse | null
}

export interface PlanInput {
  readonly volumeName: string
  readonly from: string
  readonly to: string
  readonly targetPool: string
  readonly request: MoveRequest
  readonly source: SourceObservation
  readonly target: TargetReport
  /** Bytes changed since the base; null without one, and where that is not known. */
  readonly changedBytes: number | null
  /** It moves together with others. */
  readonly isOfGroup?: boolean
  /** Learned from earlier moves. */
  readonly downtime: DowntimeModel
}

/** Commands, commit and container start, without data. */
const fixedMs = 1_500
/** Metadata and what is written while the move runs. */
const slackBytes = 64 * 2 ** 20

/** The newest snapshot that both hold, unchanged since it was received. */
export const commonBase = (source: SourceObservation, target: TargetReport): SnapshotRecord | null => {
  const kind = streamKindOf(source, target)
  if (kind === null) return null
  const there = new Set(target.intactSnapshots.map((snapshot) => identityFor(kind, snapshot)))
  return source.intactSnapshots.findLast((snapshot) => there.has(identityFor(kind, snapshot))) ?? null
}

/**
 * From what was observed to a strategy; pure. Everything that refuses a move refuses it here, before anything is touched.
 * @throws NESTED_DATASET, VOLUME_IN_USE, CANNOT_CARRY, DIVERGED, CONTENT_DIFFERS, NO_SPACE, MISSING_PROGRAM
 */
export const makePlan = (input: PlanInput): Plan => {
  const { source, target, request, volumeName, from, to } = input
  if (source.record.role !== 'owner') {
    throw new DroverError(
      'VOLUME_SEALED',
      `volume ${volumeName} is ${source.record.role} on host ${from}; it cannot be moved now`,
    )
  }
  if (source.record.moveId !== null) {
    throw new DroverError(
      'MOVE_UNDER_WAY',
      `volume ${volumeName} is still being put right on host ${from} after move ${source.record.moveId}; try again in a moment`,
    )
  }
  if (source.nested.length > 0) throw nestedError(volumeName, source.nested)
  if (request.onlyIdle && source.inUseBy !== null) {
    throw new DroverError(
      'VOLUME_IN_USE',
      `volume ${volumeName} is in use on host ${from} by ${source.inUseBy}; stop it there or run vol move ${volumeName} --to ${to}`,
    )
  }
  if (request.containers === 'refuse' && source.inUseBy !== null) {
    throw new DroverError(
      'VOLUME_IN_USE',
      `volume ${volumeName} is in use on host ${from} by ${source.inUseBy}; stop it, or move with --containers move or stop`,
    )
  }
  if (source.uses.length === 0 && source.inUseBy !== null) {
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${volumeName} is in use on host ${from} by ${source.inUseBy}, which no container of the engine accounts for; end it`,
    )
  }
  checkTargetRole(input)
  checkCarry(input)
  if (input.isOfGroup !== true && canHandOver(source, target, request)) {
    const downtimeMs = forecastDowntimeMs(input.downtime, 0)
    const forecast = { bytes: 0, ms: fixedMs + downtimeMs, downtimeMs }
    return { strategy: 'handover', base: null, forecast, cloud: cloudUseOf('handover', 0) }
  }
  const kind = checkStream(input)
  const base = commonBase(source, target)
  const bytes = base === null ? source.usedBytes : (input.changedBytes ?? source.usedBytes)
  // Where it is not known what changed, what is missing shows when the pool is full, and the move is undone.
  const isKnown = base === null || input.changedBytes !== null || kind === 'snapshot'
  const neededBytes = (isKnown ? bytes : 0) + slackBytes
  if (target.pool.freeBytes < neededBytes) {
    throw new DroverError(
      'NO_SPACE',
      `no space in pool ${target.pool.spec} on host ${to} for volume ${volumeName}: ${neededBytes} bytes are needed, ${target.pool.freeBytes} are free; free some or name another pool with --pool`,
      { details: { neededBytes, freeBytes: target.pool.freeBytes } },
    )
  }
  const limit = kind === 'snapshot' ? undefined : request.bwlimitBytes
  const rate = Math.min(assumedBytesPerSecond, limit ?? Number.POSITIVE_INFINITY)
  const model = kind === 'snapshot' ? ofSnapshots(input.downtime) : input.downtime
  const downtimeMs = forecastDowntimeMs(model, Math.min(bytes, 4 * 2 ** 20))
  return {
    strategy: `${kind}-${base === null ? 'full' : 'incremental'}`,
    base,
    forecast: {
      bytes,
      ms: Math.round((bytes / rate) * 1000 + fixedMs + (kind === 'snapshot' ? downtimeMs : 0)),
      downtimeMs,
    },
    cloud: cloudUseOf(kind, bytes, source.usedBytes, source.snapshotPlace !== target.snapshotPlace),
  }
}

const checkStream = ({ source, target, from, to }: PlanInput): StreamKind => {
  const kind = streamKindOf(source, target)
  if (kind === null) {
    throw new DroverError(
      'NO_SUCH_POOL',
      `pool ${source.record.pool} on host ${from} and pool ${target.pool.spec} on host ${to} have no stream in common`,
    )
  }
  const ends = [
    { host: from, problem: source.trees?.problem },
    { host: to, problem: target.trees?.problem },
  ]
  for (const { host, problem } of kind === 'tree' ? ends : []) {
    if (typeof problem === 'string') throw new DroverError('MISSING_PROGRAM', `on host ${host}: ${problem}`)
  }
  return kind
}

const checkTargetRole = ({ source, target, volumeName, from, to }: PlanInput): void => {
  if (target.differs === true) {
    throw new DroverError(
      'CONTENT_DIFFERS',
      `the copy of volume ${volumeName} on host ${to} was found to differ from the owner's and would be overwritten; take from it what you need, then run vol verify ${volumeName} --discard`,
    )
  }
  for (const { pool, role } of target.beside ?? []) {
    // Within a host the source is there. A replica stays as it is, for as long as it is kept.
    if ((from === to && pool === source.record.pool) || role === 'replica' || role === 'refused') continue
    throw new DroverError(
      'DIVERGED',
      `host ${to} holds a copy of volume ${volumeName} that is ${role} in pool ${pool}; it was left alone, look at vol inspect ${volumeName}`,
    )
  }
  if (target.role === null || target.role === 'replica' || target.role === 'refused') return
  throw new DroverError(
    'DIVERGED',
    `host ${to} holds a copy of volume ${volumeName} that is ${target.role}, with ${listed(target.intactSnapshots)}; ${from} has ${listed(source.intactSnapshots)}; nothing was rolled back or overwritten, look at vol inspect ${volumeName}`,
    { details: { source: source.intactSnapshots, target: target.intactSnapshots } },
  )
}

const listed = (snapshots: readonly SnapshotRecord[]): string =>
  snapshots.length === 0 ? 'no snapshots' : `snapshots ${snapshots.map(({ name }) => name).join(', ')}`

const checkCarry = ({ target, volumeName, request, to }: PlanInput): void => {
  if (request.containers !== 'move' || target.problems.length === 0) return
  const lines = target.problems.map(({ container, what, wayOut }) => `container ${container}: ${what} (${wayOut})`)
  throw new DroverError(
    'CANNOT_CARRY',
    `volume ${volumeName} cannot go to host ${to} with its containers: ${lines.join('; ')}`,
    {
      details: { problems: target.problems },
    },
  )
}
