import type { ContainerRuntime, ContainerSpec } from '../containers/runtime.ts'
import { asDroverError, hasCode } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import { busyError } from '../volumes/holders.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { foreignMounts } from '../volumes/usage.ts'
import type { PreparedContainer } from './agent.ts'
import type { SourceJournal } from './move-journal.ts'

/** A stop that is undone leaves a container so long to end by itself, so that its writers are back within two seconds. */
const stopGraceMs = 700

/** All containers that refer to one of the volumes, captured whole, each once. One that vanishes meanwhile is left out. */
export const captureAll = async (
  runtime: ContainerRuntime,
  volumeNames: readonly [string, ...string[]],
): Promise<ContainerSpec[]> => {
  const idsOf = async () => {
    const uses = await Promise.all(volumeNames.map((name) => runtime.usersOf(name)))
    return [...new Set(uses.flat().map(({ id }) => id))]
  }
  const specs = await Promise.all(
    (await idsOf()).map(async (id) => {
      try {
        return await runtime.capture(id, volumeNames)
      } catch (error) {
        if (!hasCode(error, 'DOCKER_FAILED') || (await idsOf()).includes(id)) throw error
        return null
      }
    }),
  )
  return specs.filter((spec) => spec !== null)
}

/**
 * On the way back: the containers as they were before they were carried here, whatever has become of them since. One that the engine
 * removed when it ended (`--rm`) is made again; one that somebody else removed is not.
 */
export const asTheyWere = (specs: readonly ContainerSpec[], carried: readonly PreparedContainer[]): ContainerSpec[] => {
  const before = new Map(carried.map(({ id, spec }) => [id, { ...spec, id }]))
  const found = specs.map((spec) => before.get(spec.id) ?? spec)
  const vanished = [...before.values()].filter(
    ({ id, name, autoRemove }) => autoRemove && found.every((spec) => spec.id !== id && spec.name !== name),
  )
  return [...found, ...vanished]
}

/** Containers that run or could: every one of them must be still before S is taken. */
export const stopAll = async (
  runtime: ContainerRuntime,
  specs: readonly ContainerSpec[],
  signal: AbortSignal,
): Promise<void> => {
  await Promise.all(specs.map((spec) => runtime.stop(spec.id, spec.stopTimeoutS, signal)))
}

export const pauseAll = async (runtime: ContainerRuntime, specs: readonly ContainerSpec[]): Promise<void> => {
  await Promise.all(specs.filter((spec) => spec.wasRunning && !spec.wasPaused).map((spec) => runtime.pause(spec.id)))
}

export const killAll = async (runtime: ContainerRuntime, specs: readonly ContainerSpec[]): Promise<void> => {
  await Promise.all(
    specs.filter((spec) => spec.wasRunning || spec.wasPaused).map((spec) => runtime.killFrozen(spec.id)),
  )
}

/** The engine takes its mounts down a moment after it says that a container has ended. @throws VOLUME_BUSY naming every holder */
export const awaitNoMounts = async (
  host: VolumeHost,
  clock: Clock,
  held: Held,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> => {
  const deadline = clock.monotonic() + timeoutMs
  for (;;) {
    if ((await foreignMounts(host, held)).length === 0) return
    if (clock.monotonic() > deadline) throw await busyError(host, held)
    await clock.sleep(20, signal)
  }
}

/**
 * The writers as they were: thawed, or started, or made again when they vanished, and their restart policies put back. Looks at each
 * container to know what is still to do; what the engine refuses to start is told, and the others are started all the same.
 * @returns what was refused
 */
export const restoreAll = async (
  runtime: ContainerRuntime,
  clock: Clock,
  journal: SourceJournal,
  make: (spec: ContainerSpec) => Promise<string>,
): Promise<Refused[]> => {
  const outcomes = await Promise.allSettled(journal.specs.map((spec) => restore(runtime, clock, journal, spec, make)))
  const refused: Refused[] = []
  for (const [index, spec] of journal.specs.entries()) {
    const outcome = outcomes[index]
    if (outcome?.status !== 'rejected') continue
    if (!hasCode(outcome.reason, 'DOCKER_FAILED')) throw outcome.reason
    refused.push({ spec, line: `container ${spec.name}: ${asDroverError(outcome.reason).message}` })
  }
  return refused
}

export interface Refused {
  readonly spec: ContainerSpec
  readonly line: string
}

const restore = async (
  runtime: ContainerRuntime,
  clock: Clock,
  { killed, stopping }: SourceJournal,
  spec: ContainerSpec,
  make: (spec: ContainerSpec) => Promise<string>,
): Promise<void> => {
  const before = await runtime.find(spec.name)
  // A stop or kill that was under way goes on in the engine, which says `running` until it has seen the end: brought to its end, then undone.
  if (before !== null && killed && before.state === 'paused') await runtime.killFrozen(before.id)
  else if (before !== null && (stopping || killed) && spec.wasRunning && before.state === 'running') {
    await endStop(runtime, clock, spec.name, before.id)
  }
  const found = await runtime.find(spec.name)
  const id = found?.id ?? (await make(spec))
  if (found?.state === 'paused' && !spec.wasPaused) await runtime.unpause(id)
  const runs = found !== null && ['running', 'paused', 'restarting'].includes(found.state)
  try {
    if (spec.wasRunning && !runs) {
      await runtime.start(id)
      if (spec.wasPaused) await runtime.pause(id)
    }
  } finally {
    // Also of one that was refused: it may be started by hand, and is then what it was.
    await runtime.rearm(id, spec.restartPolicy)
  }
}

/** A container that was told to stop and takes its time would get SIGKILL in the end: the undo does not wait so long for it. */
const endStop = async (runtime: ContainerRuntime, clock: Clock, name: string, id: string): Promise<void> => {
  const until = clock.monotonic() + stopGraceMs
  while (clock.monotonic() < until) {
    if ((await runtime.find(name))?.state !== 'running') break
    await clock.sleep(50)
  }
  await runtime.stop(id, 0)
}
