import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import {
  type DockerClient,
  type EngineAct,
  endMs,
  isGone,
  orNull,
  quickMs,
  refusalStatus,
  startMs,
} from './docker-client.ts'
import type { ContainerSpec, MadeContainer } from './runtime.ts'
import { inspectContainer, listContainers } from './uses.ts'
import { moveLabel, ownName, type WireContainer } from './wire.ts'

/** What the engine uses when neither call nor container names a stop timeout. */
const engineStopTimeoutS = 10
/** A stop timeout of -1 is "for ever"; nothing waits for ever here. */
const longestStopS = 600

export const findContainer = async (
  client: DockerClient,
  name: string,
): Promise<{ id: string; state: string; labels: Readonly<Record<string, string>> } | null> => {
  const pattern = `^/${name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`
  const listed = await listContainers(client, { name: [pattern] })
  const found = listed.find((container) => container.Names?.includes(`/${name}`))
  return found === undefined ? null : { id: found.Id, state: found.State, labels: found.Labels ?? {} }
}

export const madeByMoves = async (client: DockerClient): Promise<MadeContainer[]> =>
  (await listContainers(client, { label: [moveLabel] })).map((container) => ({
    id: container.Id,
    name: ownName(container.Names),
    moveId: container.Labels?.[moveLabel] ?? '',
    neverStarted: container.State === 'created',
  }))

export const setRestartPolicy = async (
  client: DockerClient,
  id: string,
  policy: ContainerSpec['restartPolicy'],
): Promise<void> => {
  try {
    await client.call(`set restart policy ${policy.name} on container ${id}`, quickMs, (docker, abortSignal) =>
      docker.getContainer(id).update({
        RestartPolicy: { Name: policy.name, MaximumRetryCount: policy.maximumRetryCount },
        abortSignal,
      }),
    )
  } catch (error) {
    // One of `--rm` that has just ended is as good as absent.
    if (!isGone(error) && !/marked for removal/.test((error as Error).message)) throw error
  }
}

export const startContainer = async (client: DockerClient, id: string): Promise<void> => {
  await client.call(
    `start container ${id}`,
    startMs,
    ignoring304((docker, abortSignal) => docker.getContainer(id).start({ abortSignal })),
  )
}

export const stopContainer = async (
  client: DockerClient,
  id: string,
  timeoutS: number | null,
  signal?: AbortSignal,
): Promise<void> => {
  const grace = timeoutS ?? (await ownStopTimeout(client, id, signal))
  const deadlineMs = (grace < 0 ? longestStopS : grace) * 1000 + endMs
  await orNull(
    client.call(
      `stop container ${id}`,
      deadlineMs,
      ignoring304((docker, abortSignal) => docker.getContainer(id).stop({ t: grace, abortSignal })),
      signal,
    ),
  )
  await awaitSettled(client, id, signal)
}

const ownStopTimeout = async (client: DockerClient, id: string, signal?: AbortSignal): Promise<number> => {
  const inspected = await orNull(inspectContainer(client, id, quickMs, signal))
  return inspected?.Config.StopTimeout ?? engineStopTimeoutS
}

/**
 * The engine tells that a container ended before it unmounts its volumes; until that is done the container is locked,
 * and inspect waits for the lock. Absent: success.
 */
const awaitSettled = async (client: DockerClient, id: string, signal?: AbortSignal): Promise<void> => {
  const inspected = await orNull(inspectContainer(client, id, endMs, signal))
  if (inspected !== null) assertEnded(inspected)
}

export const assertEnded = ({ Name: name, State: state }: WireContainer): void => {
  if (!(state.Running || state.Restarting)) return
  throw new DroverError(
    'DOCKER_FAILED',
    `container ${ownName([name])} was stopped and runs again (${state.Status}); something starts it, stop that first`,
  )
}

export const renameContainer = async (client: DockerClient, id: string, name: string): Promise<void> => {
  const found = await findContainer(client, name)
  if (found?.id === id) return
  await client.call(`rename container ${id} to ${name}`, quickMs, (docker, abortSignal) =>
    docker.getContainer(id).rename({ name, abortSignal }),
  )
}

export const removeContainer = async (client: DockerClient, id: string, clock?: Clock): Promise<void> => {
  try {
    await client.call(`remove container ${id}`, endMs, (docker, abortSignal) => {
      const options: object = { v: false, force: false, abortSignal }
      return docker.getContainer(id).remove(options)
    })
  } catch (error) {
    if (isGone(error)) return
    const removing = refusalStatus(error) === 409 && /removal .* in progress/.test((error as Error).message)
    if (!removing || clock === undefined) throw error
    await awaitGone(client, id, clock, error)
  }
}

/** `--rm` removes by itself, a moment after the end. */
const awaitGone = async (client: DockerClient, id: string, clock: Clock, refusal: unknown): Promise<void> => {
  const until = clock.monotonic() + endMs
  while (clock.monotonic() < until) {
    if ((await orNull(inspectContainer(client, id))) === null) return
    await clock.sleep(50)
  }
  throw refusal
}

/** 304: it is already as wished. */
const ignoring304 =
  (act: EngineAct<unknown>): EngineAct<unknown> =>
  async (docker, abortSignal) => {
    try {
      return await act(docker, abortSignal)
    } catch (error) {
      if (error instanceof Error && 'statusCode' in error && error.statusCode === 304) return null
      throw error
    }
  }
