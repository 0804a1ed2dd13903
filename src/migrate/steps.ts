import type { ContainerSpec } from '../containers/runtime.ts'
import type { SnapshotRecord } from '../domain/dataset.ts'
import { datasetOptionsIn } from '../domain/dataset-options.ts'
import { asDroverError, DroverError, hasCode } from '../domain/errors.ts'
import { carriesContainers, isWithinHost, type Phase, restartsContainers } from '../domain/move.ts'
import { isoNow } from '../lib/clock.ts'
import type { HookCall } from './agent.ts'
import { allowedMs, checkDelta, downtimeModel } from './budget.ts'
import { whileBusy } from './busy-wait.ts'
import { changedSince } from './estimate.ts'
import { forecastDowntimeMs } from './forecast.ts'
import { handsOver, refuseLateCopy } from './handover/handover-plan.ts'
import { eventData, journal, type MoveContext } from './move-context.ts'
import { handoverName, moveSnapshotPrefix } from './move-snapshots.ts'
import { commonBase } from './plan.ts'
import { shipRound } from './round.ts'
import { streamKindOf } from './stream-kind.ts'
import { isSilence, takeBack } from './take-back.ts'
import { proveContent } from './verification/prove-content.ts'

const replicaKeptMs = 24 * 3_600_000
const maxRounds = 8
/** Another round pays only while what is left is at most this share of the last one. */
const shrinkFactor = 0.7
/** So little is left that a round costs more than it saves. */
const smallDeltaBytes = 4 * 2 ** 20
const maxReleases = 5
const maxRefusals = 5

/** Each phase does its work, looking at the world for what is done already, and names the next; null: the move is done. */
export type Step = (context: MoveContext) => Promise<Phase | null>

/** The ordered phases. A phase without its executor is a compile error. */
export const steps: { readonly [P in Phase]: Step } = {
  async plan(context) {
    const { source, target, command, move, parts } = context
    const volume = await parts.store.volume(move.volumeId)
    if (volume === null) throw new DroverError('NO_SUCH_VOLUME', `volume ${move.volumeName} does not exist`)
    // The source hears of the new epochs first: a host that has heard less than another one has lost its memory.
    await source.beginSource(command)
    const { sizeBytes, labels, createdAt } = volume
    const options = datasetOptionsIn(volume.options)
    const chosen = Object.keys(options).length === 0 ? {} : { options }
    await target.beginTarget({ ...command, pool: move.targetPool, sizeBytes, labels, ...chosen, createdAt })
    return 'precopy'
  },

  async precopy(context) {
    const { isIdle, leftBytes } = await shipRounds(context)
    const { ran } = await runHook(context, 'before_quiesce')
    if (isIdle) return 'quiesce'
    const { lastShipped } = context
    // The program took its time, and the writers wrote on.
    const left =
      ran && lastShipped !== null ? ((await changedSince(context, lastShipped.name)) ?? leftBytes) : leftBytes
    const forecast = forecastDowntimeMs(await downtimeModel(context), left)
    const allowed = allowedMs(context)
    if (allowed !== null && forecast > allowed) throw unkeepable(context, forecast, allowed, left)
    // By this it is known from now on that there are writers.
    await journal(context, { forecastDowntimeMs: forecast })
    return 'quiesce'
  },

  async quiesce(context) {
    const { source, command, move, parts } = context
    await source.seal({ ...command, onlyIdle: move.request.onlyIdle })
    context.quiescedAt ??= parts.clock.monotonic()
    if (move.quiescedAt === null) await journal(context, { quiescedAt: isoNow(parts.clock) })
    const { specs } = await whileBusy(context, () => source.quiesce({ ...command, mode: move.request.quiesce }))
    if (carries(context)) await bringContainers(context, specs)
    return 'delta'
  },

  async delta(context) {
    if (await handsOver(context)) {
      const { source, target, command } = context
      const name = handoverName(command, nextIndex(context))
      const to = context.handoverPlace ?? null
      const handover = await source.offerHandover({ ...command, name, to })
      await target.expectHandover({ ...command, name, handover })
      await journal(context, { finalSnapshot: name })
      return 'verify'
    }
    refuseLateCopy(context)
    const base = await findBase(context)
    if (base !== null && allowedMs(context) !== null && isCheap(context, base)) {
      const bytes = await changedSince(context, base.name)
      if (bytes !== null) await checkDelta(context, bytes)
    }
    const { snapshot } = await shipRound(context, { index: nextIndex(context), base, final: true, expectedBytes: 0 })
    await journal(context, { finalSnapshot: snapshot.name })
    return 'verify'
  },

  async verify(context) {
    const { target, command } = context
    await target.prepare({ ...command, snapshot: finalSnapshot(context) })
    await journal(context, { state: 'verified' })
    return 'release'
  },

  async release(context) {
    const { source, target, command, parts } = context
    const snapshot = finalSnapshot(context)
    const targetHostId = context.targetHost.id
    const order = { ...command, snapshot, targetHostId, ...proofFor(context) }
    const { changed } = await whileBusy(context, () => source.release(order))
    if (!changed) return 'commit'
    mayShipAgain(context)
    await parts.emit('move.changed-after-snapshot', eventData(context))
    await target.reopenTarget({ ...command, snapshot: finalSnapshot(context) })
    await journal(context, { state: 'open', finalSnapshot: null })
    return 'delta'
  },

  async commit(context) {
    const { store } = context.parts
    const stored = await store.move(context.move.id)
    await context.parts.mayWrite()
    if (stored?.state === 'verified') await store.commitMove([context.move.id])
    context.move = (await store.move(context.move.id)) ?? context.move
    context.parts.publish()
    return 'activate'
  },

  async activate(context) {
    const { target, command, parts } = context
    try {
      await target.activate({ ...command, snapshot: finalSnapshot(context) })
    } catch (error) {
      if (context.targetIsLost() && isSilence(error)) return takeBack(context)
      if (!takesItNoMore(context, error)) throw error
      return giveBack(context, asDroverError(error))
    }
    await runContainers(context)
    context.move = await parts.store.activateMove(context.move.id)
    return 'retire'
  },

  async retire(context) {
    const { source, target, command, parts } = context
    const base = finalSnapshot(context)
    const keepUntil = new Date(parts.clock.now() + replicaKeptMs).toISOString()
    await source.retire({ ...command, base, keepUntil, carried: carries(context) })
    const { returnDue, request } = context.move
    await target.finishTarget({ ...command, base, forReturn: returnDue })
    // What goes back has its content proved on the way back: it is not kept waiting.
    if (request.verify === true && !returnDue) await proveContent(context, base)
    context.move = await parts.store.finishMove(context.move.id, isoNow(parts.clock))
    parts.publish()
    if (context.move.returnDue) parts.returnSoon()
    return null
  },
}

/** The containers on the target, started and waited for. What does not run well there is told, and undoes nothing: it may go back. */
export const runContainers = async (context: MoveContext): Promise<void> => {
  const { target, command, parts } = context
  const warnings: string[] = []
  try {
    const again = restartsContainers(context.move)
    const { started } = await target.startContainers({ ...command, ...(again ? { again } : {}) })
    if (started > 0 && context.quiescedAt !== null && context.move.downtimeMs === null) {
      const downtimeMs = Math.round(parts.clock.monotonic() - context.quiescedAt)
      await journal(context, { downtimeMs, warnings: [...context.move.warnings, ...overBudget(context, downtimeMs)] })
    }
    const { healthTimeoutMs } = context.move.request
    const [hook, { problem }] = await Promise.all([
      hookWarning(context),
      target.awaitHealthy({ ...command, timeoutMs: healthTimeoutMs }),
    ])
    if (hook.length > 0) await journal(context, { warnings: [...context.move.warnings, ...hook] })
    if (problem !== null) warnings.push(problem)
  } catch (error) {
    const known = asDroverError(error)
    if (known.code !== 'DOCKER_FAILED') throw error
    warnings.push(known.message)
  }
  if (warnings.length > 0) {
    const message = `volume ${command.volumeName} came to host ${context.targetHost.name}, but its container does not run well there: ${warnings.join('; ')}`
    await journal(context, {
      warnings: [...context.move.warnings, ...warnings],
      error: { code: 'NOT_HEALTHY', message },
      returnDue: mayReturn(context),
    })
  }
}

/** Where only names are sent another S is soon there: sooner than all of the volume is read, as after a pause, whose end writes to it. */
export const proofFor = ({ stream }: MoveContext): { quick?: true } => (stream === 'snapshot' ? { quick: true } : {})

/** @throws VOLUME_BUSY when S was outdated too often */
export const mayShipAgain = (context: MoveContext): void => {
  const releases = context.move.rounds.filter(({ snapshot }) => snapshot === context.move.finalSnapshot).length
  if (nextIndex(context) <= maxRounds + maxReleases && releases <= maxReleases) return
  throw new DroverError(
    'VOLUME_BUSY',
    `something keeps writing to volume ${context.command.volumeName} after its writers were stopped`,
  )
}

/** The containers of a group are those of its lead. */
const alongside = ({ alongside }: MoveContext): { alongside?: readonly string[] } =>
  alongside === undefined ? {} : { alongside }

/** Until another round does not pay any more. `leftBytes`: changed since the last one. */
const shipRounds = async (context: MoveContext): Promise<{ isIdle: boolean; leftBytes: number }> => {
  const { source, command } = context
  const observed = await source.observe({ ...command, ...alongside(context) })
  if (carries(context)) await bringContainers(context, observed.specs)
  const idle = observed.inUseBy === null
  if (await handsOver(context)) return { isIdle: idle, leftBytes: 0 }
  let base = await findBase(context)
  if (idle && base !== null) return { isIdle: true, leftBytes: 0 }
  const allowed = allowedMs(context)
  let last = Number.POSITIVE_INFINITY
  let expectedBytes =
    base === null || !isCheap(context, base)
      ? observed.usedBytes
      : ((await changedSince(context, base.name)) ?? observed.usedBytes)
  for (let index = nextIndex(context); ; index += 1) {
    const { snapshot, round } = await shipRound(context, { index, base, final: false, expectedBytes })
    if (base?.name.startsWith(moveSnapshotPrefix(command))) await source.dropSnapshot({ ...command, name: base.name })
    base = snapshot
    if (idle) break
    const heldBytes = expectedBytes
    const changed = await changedSince(context, snapshot.name)
    expectedBytes = changed ?? observed.usedBytes
    const settled = expectedBytes <= smallDeltaBytes
    // Of a snapshot that is only told of nothing is sent, and its bytes are copied all the same.
    const shippedBytes = context.stream === 'snapshot' ? heldBytes : round.bytes
    const shrinking = changed !== null && expectedBytes <= shippedBytes * shrinkFactor && shippedBytes < last
    last = shippedBytes
    const forecast = forecastDowntimeMs(await downtimeModel(context), expectedBytes)
    if (settled || !shrinking || index >= maxRounds) {
      if (allowed === null || forecast <= allowed) break
      if (!shrinking || index >= maxRounds) throw unkeepable(context, forecast, allowed, expectedBytes)
    }
  }
  return { isIdle: idle, leftBytes: expectedBytes }
}

/** What changed since a snapshot of this move is known at once; on a cloud's disk, what did since any other only when all of it is read. */
const isCheap = ({ stream, command }: MoveContext, base: SnapshotRecord): boolean =>
  stream !== 'snapshot' || base.name.startsWith(moveSnapshotPrefix(command))

const unkeepable = ({ move }: MoveContext, forecastMs: number, allowedMs: number, leftBytes: number): DroverError =>
  new DroverError(
    'DOWNTIME_EXCEEDED',
    `moving volume ${move.volumeName} would stop its writers for about ${forecastMs} ms, ${allowedMs} ms are allowed; nothing was stopped, raise --max-downtime, move when less is written, or with --keep-going`,
    { details: { forecastMs, allowedMs, leftBytes } },
  )

/** On the source before its writers are stopped, on the target once they were started. After a restart of control it may run again. */
const runHook = (context: MoveContext, hook: HookCall['hook']): Promise<{ ran: boolean }> => {
  const { source, target, command, sourceHost, targetHost } = context
  const host = hook === 'before_quiesce' ? source : target
  return host.runHook({ ...command, hook, source: sourceHost.name, target: targetHost.name })
}

/** A failure after commit is told; it takes nothing back. */
const hookWarning = async (context: MoveContext): Promise<string[]> => {
  try {
    await runHook(context, 'after_activate')
    return []
  } catch (error) {
    if (!hasCode(error, 'HOOK_FAILED')) throw error
    return [error.message]
  }
}

/**
 * A target that answers and does not take the volume. What will not change by asking again (its dataset is gone, is not what was
 * committed, it has refused at the word of a source that had lost control) decides at once, the rest after some tries. Silence
 * decides nothing.
 */
export const takesItNoMore = (context: MoveContext, error: unknown): boolean => {
  if (isSilence(error)) return false
  context.refusals += 1
  return !asDroverError(error).kind.retryable || context.refusals >= maxRefusals
}

/** The target refuses durably; TOO_LATE if it is owner after all. */
export const refuseDurably = async ({ target, command }: MoveContext): Promise<void> => {
  try {
    await target.refuseTarget(command)
  } catch (refusal) {
    // It is refused by the record; removing what was made there may take as long as it likes.
    const record = (await target.holding({ volumeId: command.volumeId, pool: command.targetPool }))?.record
    if (record?.role !== 'refused' || record.moveId !== command.moveId) throw refusal
  }
}

/** Once it has refused, the store gives the volume back at n + 1. */
const giveBack = async (context: MoveContext, error: DroverError): Promise<null> => {
  const { parts } = context
  await refuseDurably(context)
  const reason = { code: error.code, message: error.message }
  context.move = await parts.store.returnMove(context.move.id, reason, isoNow(parts.clock))
  parts.reconcileSoon()
  parts.publish()
  return null
}

/** What was allowed is not kept, be it that this was wished or that it came after commit: that is told. */
const overBudget = ({ move: { request } }: MoveContext, downtimeMs: number): string[] => {
  if (request.maxDowntimeMs === undefined || downtimeMs <= request.maxDowntimeMs) return []
  const why = request.keepGoing === true ? '; it went on because of --keep-going' : ''
  return [`the writers were stopped for ${downtimeMs} ms, ${request.maxDowntimeMs} ms were allowed${why}`]
}

/** A return does not return, and within one host nothing else awaits it. Of a group the one that has the containers says it for all. */
const mayReturn = ({ move }: MoveContext): boolean =>
  move.request.noReturn !== true && move.returnOf === null && !isWithinHost(move)

export const carries = ({ move }: MoveContext): boolean => carriesContainers(move)

/** Images first, then the containers: all that can fail on the target fails before release (rule 11). */
export const bringContainers = async (context: MoveContext, specs: readonly ContainerSpec[]): Promise<void> => {
  const { source, target, command, targetHost } = context
  const brought = JSON.stringify(specs)
  if (context.brought === brought) return
  const images = new Map(specs.map(({ imageId, imageName }) => [imageId, imageName]))
  for (const [imageId, imageName] of images) {
    if ((await target.hasImage({ imageId })) || targetHost.id === context.sourceHost.id) continue
    await source.sendImage({
      ...command,
      imageId,
      imageName,
      targetHostId: targetHost.id,
      targetAddress: targetHost.address,
    })
  }
  await target.prepareContainers({ ...command, specs, dropMounts: context.move.request.dropMounts })
  context.brought = brought
}

const findBase = async (context: MoveContext): Promise<SnapshotRecord | null> => {
  if (context.lastShipped !== null) return context.lastShipped
  const { source, target, command, move } = context
  const [observed, report] = await Promise.all([
    source.observe(command),
    target.checkTarget({ volumeId: command.volumeId, pool: move.targetPool, specs: [], dropMounts: [] }),
  ])
  context.stream = streamKindOf(observed, report) ?? 'native'
  return commonBase(observed, report)
}

const nextIndex = ({ move }: MoveContext): number =>
  Math.max(-1, ...move.rounds.map(({ snapshot }) => Number(snapshot.slice(snapshot.lastIndexOf('-') + 1)))) + 1

export const finalSnapshot = ({ move }: MoveContext): string => {
  if (move.finalSnapshot !== null) return move.finalSnapshot
  throw new DroverError('INTERNAL', `move ${move.id} has no final snapshot in its journal`)
}
