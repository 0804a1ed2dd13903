import type { ContainerRuntime, ContainerSpec } from '../containers/runtime.ts'
import { hasCode } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import { busyError } from '../volumes/holders.ts'
import type { Held, VolumeHost } from '../volumes/host.ts'
import { foreignMounts } from '../volumes/usage.ts'
import type { SourceJournal } from './move-journal.ts'

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

/** Containers that run or could: every one of them must be still before S is taken. */
export const stopAll = async (runtime: ContainerRuntime, specs: readonly ContainerSpec[]): Promise<void> => {
  await Promise.all(specs.map((spec) => runtime.stop(spec.id, spec.stopTimeoutS)))
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
export const awaitNoMounts = async (host: VolumeHost, clock: Clock, held: Held, timeoutMs: number): Promise<void> => {
  const deadline = clock.monotonic() + timeoutMs
  for (;;) {
    if ((await foreignMounts(host, held)).length === 0) return
    if (clock.monotonic() > deadline) throw await busyError(host, held)
    await clock.sleep(20)
  }
}

/**
 * The writers as they were: thawed, or started, or made again when they vanished, and their restart policies put back. Looks at each
 * container to know what is still to do; what the engine refuses to start is told, and the others are started all the same.
 * @returns what was refused, a line each
 */
export const restoreAll = async (
  runtime: ContainerRuntime,
  journal: SourceJournal,
  make: (spec: ContainerSpec) => Promise<string>,
): Promise<string[]> => {
  const refused: string[] = []
  for (const spec of journal.specs) {
    try {
      await restore(runtime, journal, spec, make)
    } catch (error) {
      if (!hasCode(error, 'DOCKER_FAILED')) throw error
      refused.push(`container ${spec.name}: ${error.message}`)
    }
  }
  return refused
}

const restore = async (
  runtime: ContainerRuntime,
  { killed, stopping }: SourceJournal,
  spec: ContainerSpec,
  make: (spec: ContainerSpec) => Promise<string>,
): Promise<void> => {
  const before = await runtime.find(spec.name)
  // A stop or kill that was under way when vold died goes on in the engine: it is brought to its end, then undone.
  if (before !== null && killed && before.state === 'paused') await runtime.killFrozen(before.id)
  else if (before !== null && stopping && spec.wasRunning && before.state === 'running') {
    await runtime.stop(before.id, spec.stopTimeoutS)
  }
  const found = await runtime.find(spec.name)
  const id = found?.id ?? (await make(spec))
  if (found?.state === 'paused' && !spec.wasPaused) await runtime.unpause(id)
  const runs = found !== null && ['running', 'paused', 'restarting'].includes(found.state)
  if (spec.wasRunning && !runs) {
    await runtime.start(id)
    if (spec.wasPaused) await runtime.pause(id)
  }
  await runtime.rearm(id, spec.restartPolicy)
}
