import type { Volume } from '../../src/domain/volume.ts'
import { Violation } from './ledger.ts'
import { besideName, volumeName, writerName } from './names.ts'
import { People } from './people.ts'
import type { Scenario } from './scenario.ts'
import { type Expectation, unsettled } from './settled.ts'
import type { SimHost } from './sim-host.ts'
import { World } from './world.ts'

export interface Outcome {
  readonly label: string
  /** Null: everything held. */
  readonly violation: string | null
  readonly hash: string
  readonly steps: number
  readonly stepNames: readonly string[]
  readonly trace: readonly string[]
  /** How the moves ended, counted. */
  readonly moves: Readonly<Record<string, number>>
  readonly rows: number
  readonly simulatedMs: number
}

/** Everything is healed by then; what has not settled by itself after so long never will. */
const patienceMs = 400_000
const calmMs = 30_000

/** Plays the scenario to its end and checks what must hold, on the way and at the end. */
export const runScenario = async (scenario: Scenario, keepTrace = false): Promise<Outcome> => {
  const world = new World(scenario, keepTrace)
  const people = new People(world)
  let violation: string | null = null
  try {
    await play(world, people)
  } catch (error) {
    violation = error instanceof Violation ? error.message : `the simulation broke: ${(error as Error).stack ?? error}`
  }
  const moves: Record<string, number> = {}
  for (const { state } of await world.store().moves()) moves[state] = (moves[state] ?? 0) + 1
  world.close()
  return {
    label: scenario.label,
    violation,
    hash: world.trace.hash,
    steps: world.steps,
    stepNames: world.stepNames,
    trace: world.trace.lines,
    moves,
    rows: world.ledger.acknowledgedRows.length,
    simulatedMs: world.loop.now,
  }
}

const play = async (world: World, people: People): Promise<void> => {
  const { scenario, loop, ledger } = world
  await world.prepare()
  await settle(world, people.createVolume())
  await settle(world, people.runWriter())
  if (scenario.writer !== null) await world.until(() => ledger.acknowledgedRows.length > 2, calmMs)
  const volume = await world.store().volumeByName(volumeName)
  if (volume === null) throw new Error('the volume was not made')

  world.note('the storm begins')
  world.poke = (act) => people.do(act)
  world.stormy = true
  Object.assign(world.network.weather, scenario.weather)
  Object.assign(world.streams.weather, scenario.weather)
  for (const { atMs, act } of scenario.acts) loop.after(atMs, () => people.do(act))
  const end = loop.now + scenario.stormMs
  await world.until(() => false, end - loop.now)

  heal(world)
  await settleAll(world, people)
  await mustGoOn(world, people)
  await mustBeClean(world)
}

/** A promise that depends on simulated time. */
const settle = async <T>(world: World, work: Promise<T>): Promise<T> => {
  let over = false
  const mark = () => {
    over = true
  }
  work.then(mark, mark)
  if (!(await world.until(() => over, calmMs))) throw new Error('the preparation did not come to its end')
  return work
}

const heal = (world: World): void => {
  world.note('all is healed')
  world.stormy = false
  Object.assign(world.network.weather, { loss: 0, repeat: 0, delayMs: 20 })
  Object.assign(world.streams.weather, { cut: 0, corrupt: 0 })
  world.network.joinAll()
  for (const host of world.hosts) {
    host.kernel.openers = []
    if (host.dark) host.boot()
    if (!host.engine.up) void host.engine.restart()
    host.startVold()
  }
}

/** Until nothing is left to do. Checks once a second. */
const settleAll = async (world: World, people: People): Promise<void> => {
  const healedAt = world.loop.now
  for (;;) {
    await world.until(() => false, 1_000)
    const reason = await look(world, people)
    if (reason === null) return
    if (world.loop.now - healedAt > patienceMs) {
      world.note(`VIOLATION not settled: ${reason}`)
      throw new Violation(`not settled after ${patienceMs / 1000} s: ${reason}`)
    }
    if (world.loop.now - healedAt > calmMs) await help(world, people)
  }
}

const look = async (world: World, people: People): Promise<string | null> => {
  const store = world.store()
  const volume = await store.volumeByName(volumeName)
  if (volume === null) return 'the store has no volume'
  if (world.storeFile.hasOldCopy) return 'the store is an old copy'
  if (people.busy > 0) return 'people wait for an answer'
  const isDue = (await store.moves()).some((move) => 'returnDue' in move && move.returnDue)
  if (isDue) return 'a return is due'
  const open = await store.moves({ open: true })
  const expected = await expectation(world, people, volume)
  const reason = unsettled(world.hosts, volume, open.length, expected) ?? outOfReach(world, volume)
  if (reason !== null || world.scenario.group !== true) return reason
  const beside = await store.volumeByName(besideName)
  if (beside === null) return `the store has no volume ${besideName}`
  // One that a container mounts elsewhere while nothing uses it comes there by itself, alone.
  const isPulled = (await store.moves()).some(({ state, request }) => state === 'done' && request.onlyIdle)
  if (beside.ownerHostId !== volume.ownerHostId && !isPulled) return 'the group is on two hosts'
  const reasonBeside = unsettled(world.hosts, beside, open.length, {
    ...expected,
    mustRun: false,
    // The writer is where its own volume is.
    mayStay: (host, container) => host.row.id === volume.ownerHostId || expected.mayStay(host, container),
  })
  return reasonBeside === null ? null : `${besideName}: ${reasonBeside}`
}

/** Of a volume on shared disks: its owner has it, or can attach it at once. */
const outOfReach = (world: World, volume: Volume): string | null => {
  const { disks } = world
  const pool = ownerOf(world, volume)?.pool(volume.pool)
  const directory = pool?.volumes.get(volume.id)
  if (disks === null || pool === undefined || directory?.live == null) return null
  if (!disks.has(directory.live)) return 'the disk is gone'
  if (directory.passing != null) return `the owner's disk is ${directory.passing}`
  const holder = disks.holder(directory.live)
  return holder === null || holder === pool.name ? null : `the owner's disk is attached at ${holder}`
}

const ownerOf = (world: World, volume: Volume): SimHost | undefined =>
  world.hosts.find(({ row }) => row.id === volume.ownerHostId)

const expectation = async (world: World, people: People, volume: Volume): Promise<Expectation> => {
  const { scenario } = world
  const { writer } = scenario
  const owner = ownerOf(world, volume)
  const moves = await world.store().moves()
  const leftBehind =
    moves.some(({ state, request }) => state === 'done' && request.containers !== 'move') ||
    (world.isRecovered && scenario.acts.some(({ act }) => act.kind === 'move' && act.containers !== 'move'))
  const vanished = writer?.autoRemove === true && world.stoppedByOthers && owner?.engine.find(writerName) === null
  return {
    container: writer === null ? null : writerName,
    mustRun: writer !== null && !leftBehind && !vanished,
    policy: people.policy,
    mayStay: (host, { name, state }) =>
      state !== 'running' && state !== 'paused' && (leftBehind || (people.made.get(name) === host && writer === null)),
  }
}

/** What is not Drover's to do: the newest copy of the store, and containers that ended with their engine. */
const help = async (world: World, people: People): Promise<void> => {
  const { storeFile } = world
  const control = world.host(0)
  if (storeFile.hasOldCopy) {
    const { commitSequence } = await world.store().identity()
    const seen = world.hosts.map(({ disk }) => seenBy(disk.files))
    if (Math.max(...seen) > commitSequence && world.scenario.seed % 2 === 0) {
      await recover(world)
    } else if (Math.max(...seen) > commitSequence) {
      world.note('the newest store is put back')
      control.killVold()
      storeFile.restoreNewest()
      control.startVold()
    } else {
      world.note('nobody has seen a newer store')
      storeFile.keepOld()
    }
    return
  }
  const volume = await world.store().volumeByName(volumeName)
  const owner = volume === null ? undefined : ownerOf(world, volume)
  if (world.stoppedByOthers && volume?.openMoveId === null && owner !== undefined) {
    people.startAgain(owner).catch(() => undefined)
  }
}

const orphans = [
  'snapshot',
  'partial',
  'live',
  'mount',
  'container',
  'journal',
  'loop',
  'unfinished',
  'trash',
  'verification',
  'plugin',
  'unknown',
  'store',
]

/**
 * After all of it `vol doctor` finds nothing that a move left. What a message has just begun that was on its way until now is over soon, as
 * doctor says of it.
 */
const mustBeClean = async (world: World): Promise<void> => {
  for (const healedAt = world.loop.now; ; await world.until(() => false, 1_000)) {
    const { control } = world
    if (control === null) throw new Violation('the control role is down at the end')
    const { findings } = await settle(world, control.doctor({ fix: false }))
    const found = findings.filter(({ kind }) => orphans.includes(kind))
    const [first] = found
    if (first === undefined) return
    if (world.loop.now - healedAt < patienceMs && found.every(({ kind }) => kind === 'unfinished')) continue
    throw new Violation(`vol doctor finds ${first.what} on ${first.host}`)
  }
}

/** The newest copy is lost for good: the hosts' records decide. */
const recover = async (world: World): Promise<void> => {
  const { control } = world
  if (control === null) return
  world.note('the store is recovered from the hosts')
  const report = await settle(world, control.recover({ dryRun: false }))
  world.note(JSON.stringify(report))
  if (report.needed) {
    world.isRecovered = true
    world.storeFile.keepOld()
  }
}

const seenBy = (files: ReadonlyMap<string, string>): number => {
  for (const [path, text] of files) {
    if (path.endsWith('members.json')) return JSON.parse(text).store?.commitSequence ?? 0
  }
  return 0
}

/** The writer writes on, the owner holds every acknowledged row, and it stays so. */
const mustGoOn = async (world: World, people: People): Promise<void> => {
  const { ledger } = world
  const volume = await world.store().volumeByName(volumeName)
  const owner = volume === null ? undefined : ownerOf(world, volume)
  const live = volume === null ? null : (owner?.pool(volume.pool)?.volumes.get(volume.id)?.live ?? null)
  if (volume === null || live === null) throw new Violation('the owner has no dataset at the end')
  const { mustRun } = await expectation(world, people, volume)
  const before = ledger.acknowledgedRows.length
  if (mustRun && !(await world.until(() => ledger.acknowledgedRows.length > before, 10_000))) {
    throw new Violation('the writer runs and writes nothing')
  }
  const missing = ledger.missingIn(live)
  if (missing.length > 0)
    throw new Violation(`acknowledged rows ${missing.slice(0, 5).join(', ')} are missing at the end`)
}
