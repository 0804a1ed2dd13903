import { sleep, until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import type { Phase } from '../../src/domain/move.ts'
import { silentControlMs } from '../../src/migrate/watchdog.ts'
import { Random } from '../simulation/random.ts'
import { Broken, checkAll, names, whoCanWrite } from './checks.ts'
import type { Fault, Scene } from './fault.ts'
import { followPhases } from './phases.ts'
import { Resumption } from './resumption.ts'
import type { Stage } from './stage.ts'
import { runOf } from './writer.ts'

/** One square of the table, with the seed of its chance. */
export interface Cell {
  readonly fault: Fault
  readonly phase: Phase
  readonly seed: number
}

export interface Outcome {
  readonly fault: string
  readonly phase: Phase
  readonly seed: number
  readonly result: 'passed' | 'failed' | 'not applicable'
  /** Why it failed, or cannot be. */
  readonly reason: string | null
  /** The move: `done`, `aborted`, or what it was left in. */
  readonly move: string | null
  /** The phase that was under way when the fault struck: after its delay it may be a later one. */
  readonly struckIn: Phase | null
  readonly delayMs: number
  readonly quiesce: 'stop' | 'pause'
  /** From the start of the `vold` that was killed until what it left unfinished was under way again; null: nothing was. */
  readonly resumedMs: number | null
  readonly ms: number
  /** What the time went into, in milliseconds. */
  readonly took: Took
}

/** How long after its beginning a phase may be struck; half of all strikes come at once. */
const spreadMs: Readonly<Record<Phase, number>> = {
  plan: 50,
  precopy: 700,
  quiesce: 150,
  delta: 200,
  verify: 60,
  release: 60,
  commit: 30,
  activate: 600,
  retire: 150,
}
const bwlimitBytes = 12 * 2 ** 20
const tries = 4
const patienceMs = 50_000
const settleMs = 90_000

/** The same fault, phase and seed: the same chance. */
export const chanceOf = ({ fault, phase, seed }: Cell): Random => {
  let hash = seed >>> 0
  for (const char of `${fault.name} ${phase}`) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0
  return new Random(hash)
}

const unstruck = (cell: Cell) => ({
  fault: cell.fault.name,
  phase: cell.phase,
  seed: cell.seed,
  quiesce: chanceOf(cell).pick(['stop', 'pause'] as const),
  delayMs: 0,
  struckIn: null,
  move: null,
  reason: null,
  resumedMs: null,
  ms: 0,
  took: nothing,
})

/** The cell of a fault that cannot be in its phase. */
export const cannotBe = (cell: Cell): Outcome => ({
  ...unstruck(cell),
  result: 'not applicable',
  reason: cell.fault.notIn(cell.phase),
})

/** Moves the volume under one fault, and looks at everything after it. */
export const runCell = async (stage: Stage, cell: Cell): Promise<Outcome> => {
  const startedAt = performance.now()
  const random = chanceOf(cell)
  const quiesce = random.pick(['stop', 'pause'] as const)
  let strike: Strike = { found: false, delayMs: 0, struckIn: null, move: null, resumedMs: null, took: nothing }
  const struck = (now: Strike) => {
    strike = now
  }
  const ended = (result: Outcome['result'], reason: string | null): Outcome => {
    const { found: _, ...told } = strike
    return { ...unstruck(cell), ...told, result, reason, ms: Math.round(performance.now() - startedAt) }
  }
  try {
    // What is to be struck may have been over by then: at once, the next time.
    for (let attempt = 0; attempt < tries && !strike.found; attempt += 1) {
      await runOnce(stage, cell, { random, quiesce, attempt, struck })
    }
  } catch (error) {
    strike = { ...strike, move: await lastMove(stage) }
    return ended('failed', error instanceof Error ? error.message : String(error))
  }
  strike = { ...strike, move: await lastMove(stage) }
  if (!strike.found) return ended('not applicable', `nothing to strike in ${tries} moves`)
  return ended('passed', null)
}

interface Strike {
  /** There was something to strike. */
  readonly found: boolean
  readonly delayMs: number
  readonly struckIn: Phase | null
  readonly move: string | null
  readonly resumedMs: number | null
  readonly took: Took
}

interface Took {
  /** Until the fault struck, the making of the fault included. */
  readonly strike: number
  /** Under the fault. */
  readonly unmended: number
  /** To start again what died. */
  readonly mend: number
  readonly checks: number
}
const nothing: Took = { strike: 0, unmended: 0, mend: 0, checks: 0 }

/** Whole milliseconds since the last call. */
const lapTimer = (): (() => number) => {
  let since = performance.now()
  return () => {
    const now = performance.now()
    const ms = Math.round(now - since)
    since = now
    return ms
  }
}

const runOnce = async (
  stage: Stage,
  { fault, phase }: Cell,
  {
    random,
    quiesce,
    attempt,
    struck,
  }: { random: Random; quiesce: 'stop' | 'pause'; attempt: number; struck: (strike: Strike) => void },
): Promise<void> => {
  const before = await stage.inspect()
  if (before === null) throw new Broken('control does not answer')
  const source = stage.lab.host(before.owner)
  const target = stage.hosts.find((host) => host !== source && host !== stage.control)
  if (target === undefined) throw new Broken(`the volume is on ${before.owner}`)
  const afterwards: (() => Promise<unknown>)[] = []
  const scene: Scene = { stage, control: stage.control, source, target, phase, random, afterwards }
  const delayMs = attempt > 0 || random.chance(0.5) ? 0 : random.between(0, spreadMs[phase])
  const awayMs = random.between(100, 1_500)
  const lap = lapTimer()
  try {
    await stage.ballast(source)
    await fault.prepare?.(scene)
    const { found, struckIn, movedOnTo } = await struckMove(stage, scene, fault, { quiesce, delayMs })
    let strike: Strike = { found, delayMs, struckIn, move: null, resumedMs: null, took: nothing }
    const tell = (took: Partial<Took>, more: Partial<Strike> = {}) => {
      strike = { ...strike, ...more, took: { ...strike.took, ...took } }
      struck(strike)
    }
    tell({ strike: lap() })
    if (fault.mended === 'settled') await checkUnmended(stage, fault, { source, target, within: [struckIn, movedOnTo] })
    else await sleep(found ? awayMs : 0)
    tell({ unmended: lap() })
    const restarted = fault.restarts?.(scene)
    const resumption = restarted === undefined ? null : new Resumption(stage, restarted)
    await fault.mend(scene)
    tell({ mend: lap() })
    const copyOn = fault.leavesCopyOn === undefined ? null : scene[fault.leavesCopyOn]
    await checkAll(stage, copyOn, settleMs)
    if (copyOn !== null) await stage.removeCopy(copyOn)
    tell({ checks: lap() }, { resumedMs: (await resumption?.ms()) ?? null })
  } finally {
    for (const work of afterwards.reverse()) await work().catch(() => undefined)
  }
}

/** Starts the move and strikes in its phase. */
const struckMove = async (
  stage: Stage,
  scene: Scene,
  fault: Fault,
  { quiesce, delayMs }: { quiesce: 'stop' | 'pause'; delayMs: number },
): Promise<{ found: boolean; struckIn: Phase; movedOnTo: Phase }> => {
  const reached = Promise.withResolvers<void>()
  let now: Phase = 'plan'
  const unfollow = await followPhases(scene.control, (entered) => {
    now = entered
    if (entered === scene.phase) reached.resolve()
  })
  try {
    const started = await stage.startMove({ to: scene.target.name, quiesce, bwlimitBytes })
    if (started !== null && started.status !== 202) throw new Broken(`the move did not start: ${started.text}`)
    const late = new AbortController()
    const ended = until('the phase', () => (late.signal.aborted ? true : null), { timeoutMs: 60_000 })
    await Promise.race([reached.promise, ended]).catch(async () => {
      throw new Broken(`phase ${scene.phase} was not reached, the move is ${await lastMove(stage)} in ${now}`)
    })
    late.abort()
    if (delayMs > 0) await sleep(delayMs)
    const struckIn = now
    const found = await fault.strike(scene)
    // A cable takes its time to be pulled, and the move does not wait for it.
    return { found, struckIn, movedOnTo: now }
  } finally {
    unfollow()
  }
}

/** Under a fault that lasts: never two who can write, and one who does but where the protocol says that there may be none. */
const checkUnmended = async (
  stage: Stage,
  fault: Fault,
  { source, target, within }: { source: LabHost; target: LabHost; within: readonly Phase[] },
): Promise<void> => {
  const none = within.some((phase) => fault.noWriterIn.includes(phase))
  // The writer may be about to be stopped: only rows that come once the move has ended, or is stuck, tell.
  await settledOrStuck(stage, none ? 12_000 : patienceMs)
  if (!none) {
    await stage.goesOn(patienceMs).catch(async () => {
      throw new Broken(`nobody writes while ${fault.says} (owner ${(await stage.inspect())?.owner})`)
    })
  }
  const writable = await whoCanWrite(stage)
  if (writable.length > 1) throw new Broken(`${names(writable)} can write while ${fault.says}`)
  if (writable.some((host) => host !== source && host !== target)) throw new Broken(`${names(writable)} can write`)
}

/** Control says that the move has ended, another run of the writer writes, or the silence after which a source acts is over. */
const settledOrStuck = async (stage: Stage, timeoutMs: number): Promise<void> => {
  const startedAt = performance.now()
  const before = new Set(stage.acknowledged().map(runOf))
  let silentSince = stage.acknowledged().length
  while (performance.now() - startedAt < timeoutMs) {
    const [detail] = await Promise.all([stage.inspect(), sleep(250)])
    if (detail?.move === null || stage.acknowledged().some((row) => !before.has(runOf(row)))) return
    const count = stage.acknowledged().length
    // Thawed, it is the same run.
    if (performance.now() - startedAt > silentControlMs && count > silentSince) return
    silentSince = count
  }
}

/** The newest move's state, with what undid it. */
const lastMove = async (stage: Stage): Promise<string | null> => {
  const move = await stage.newestMove()
  if (move === null) return null
  return move.error === null ? move.state : `${move.state} (${move.error.code})`
}
