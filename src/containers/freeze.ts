import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { type FreezerCgroup, freezerOf, type KernelRoots, killAll, processesIn } from './cgroup.ts'
import { type DockerClient, endMs, isGone, orNull, quickMs, refusalStatus } from './docker-client.ts'
import { assertEnded } from './lifecycle.ts'
import { inspectContainer } from './uses.ts'
import type { WireState } from './wire.ts'

interface Freezing {
  readonly client: DockerClient
  readonly clock: Clock
  readonly logger: Logger
  readonly roots: KernelRoots
}

const reapMs = 30_000

/** What forks without end slips from runc on cgroups of version 1, now and then: it gives up, thaws, and says so. */
const slipped = /unable to freeze/
const freezeTries = 4

export const pauseContainer = async (client: DockerClient, id: string): Promise<void> => {
  for (let left = freezeTries - 1; ; left -= 1) {
    try {
      await client.call(`pause container ${id}`, quickMs, (docker, abortSignal) =>
        docker.getContainer(id).pause({ abortSignal }),
      )
      return
    } catch (error) {
      if (refusalStatus(error) === null) throw error
      if ((await orNull(inspectContainer(client, id)))?.State.Paused === true) return
      if (left === 0 || !(error instanceof DroverError && slipped.test(error.message))) throw error
    }
  }
}

export const unpauseContainer = async (client: DockerClient, id: string): Promise<void> => {
  try {
    await client.call(`unpause container ${id}`, quickMs, (docker, abortSignal) =>
      docker.getContainer(id).unpause({ abortSignal }),
    )
  } catch (error) {
    if (isGone(error)) return
    if (refusalStatus(error) === null) throw error
    if ((await orNull(inspectContainer(client, id)))?.State.Paused === true) throw error
  }
}

/** See ContainerRuntime.killFrozen. */
export const killFrozen = async (freezing: Freezing, id: string): Promise<void> => {
  const { client, logger, roots } = freezing
  const inspected = await orNull(inspectContainer(client, id))
  if (inspected === null || !inspected.State.Running) return
  if (!inspected.State.Paused) {
    // Somebody thawed it. What it wrote since is for the unchanged proof to find; here it only must not write on.
    logger.warn({ container: id }, 'container was unpaused during the move; pausing it again')
    await pauseContainer(client, id)
  }
  const cgroup = await freezerOf(roots, inspected.State.Pid)
  if (cgroup !== null) {
    const killed = await killAll(cgroup)
    logger.debug({ container: id, killed, cgroup }, 'killed while frozen')
  }
  await thawToDie(client, id)
  if (cgroup !== null) await awaitEmpty(freezing, cgroup, id)
  await awaitEnd(freezing, id, inspected.State)
}

/** The engine hears of the end a moment after the kernel; its own wait call would never return for one that it restarts. */
const awaitEnd = async ({ client, clock }: Freezing, id: string, killed: WireState): Promise<void> => {
  const until = clock.monotonic() + reapMs
  for (;;) {
    const inspected = await orNull(inspectContainer(client, id, endMs))
    if (inspected === null) return
    const { State: state } = inspected
    const isKilledOne = state.Running && !state.Restarting && state.StartedAt === killed.StartedAt
    if (!isKilledOne || clock.monotonic() > until) return assertEnded(inspected)
    await clock.sleep(5)
  }
}

/**
 * Through the engine, so that it and the kernel agree on what is paused. Its unpause is quicker than its kill (105 against
 * 130 ms to the end, engine 20.10), which starts two more processes; kill is there when it thinks otherwise.
 */
const thawToDie = async (client: DockerClient, id: string): Promise<void> => {
  try {
    await unpauseContainer(client, id)
  } catch (error) {
    if (refusalStatus(error) === null) throw error
    await orNull(
      client.call(`kill container ${id}`, endMs, (docker, abortSignal) =>
        docker.getContainer(id).kill({ signal: 'SIGKILL', abortSignal }),
      ),
    )
  }
}

const awaitEmpty = async ({ clock }: Freezing, cgroup: FreezerCgroup, id: string): Promise<void> => {
  const until = clock.monotonic() + reapMs
  let left = await processesIn(cgroup.path)
  while (left.length > 0) {
    if (clock.monotonic() > until) {
      throw new DroverError(
        'DOCKER_FAILED',
        `processes ${left.join(', ')} of container ${id} are killed but do not end; see what they wait for in /proc/PID/stack`,
      )
    }
    await clock.sleep(2)
    left = await processesIn(cgroup.path)
  }
}
