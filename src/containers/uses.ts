import pLimit from 'p-limit'
import type { Logger } from '../lib/logger.ts'
import { type DockerClient, orNull, quickMs } from './docker-client.ts'
import type { ContainerUse } from './runtime.ts'
import { isDroverDriver, isMountOf, ownName, type WireContainer, type WireMount, type WireSummary } from './wire.ts'

const inspectMs = 2_000
const inspectsAtOnce = 16
const startingPolicies = ['always', 'unless-stopped', 'on-failure']

/** Listing takes no lock on a container, so it answers while one of them waits for the volume plugin. */
export const listContainers = (client: DockerClient, filters: Record<string, string[]> = {}): Promise<WireSummary[]> =>
  client.call('list containers', quickMs, async (docker, abortSignal) => {
    const list: unknown = await docker.listContainers({ all: true, filters, abortSignal })
    return list as WireSummary[]
  })

export const containerNames = async (client: DockerClient): Promise<ReadonlyMap<string, string>> =>
  new Map((await listContainers(client)).map(({ Id, Names }) => [Id, ownName(Names)]))

/** @throws DOCKER_FAILED with status 404 when it does not exist */
export const inspectContainer = (
  client: DockerClient,
  id: string,
  deadlineMs = quickMs,
  signal?: AbortSignal,
): Promise<WireContainer> =>
  client.call(
    `inspect container ${id}`,
    deadlineMs,
    async (docker, abortSignal) => {
      const inspected: unknown = await docker.getContainer(id).inspect({ abortSignal })
      return inspected as WireContainer
    },
    signal,
  )

export const usersOf = async (client: DockerClient, logger: Logger, volumeName: string): Promise<ContainerUse[]> => {
  const listed = await listContainers(client, { volume: [volumeName] })
  return describeAll(
    client,
    logger,
    listed.flatMap((summary) => {
      const mount = summary.Mounts?.find((candidate) => isMountOf(candidate, volumeName))
      return mount === undefined ? [] : [{ summary, mount }]
    }),
  ).then((found) => found.map(({ use }) => use))
}

export const allUsers = async (client: DockerClient, logger: Logger): Promise<Map<string, ContainerUse[]>> => {
  const listed = await listContainers(client)
  const mounts = listed.flatMap((summary) => {
    const ours = (summary.Mounts ?? []).filter((mount) => mount.Type === 'volume' && isDroverDriver(mount.Driver))
    const byName = new Map(ours.map((mount) => [mount.Name, mount]))
    return [...byName.values()].map((mount) => ({ summary, mount }))
  })
  const users = new Map<string, ContainerUse[]>()
  for (const { volume, use } of await describeAll(client, logger, mounts)) {
    const known = users.get(volume)
    if (known === undefined) users.set(volume, [use])
    else known.push(use)
  }
  return users
}

interface Found {
  readonly summary: WireSummary
  readonly mount: WireMount
}

const describeAll = async (client: DockerClient, logger: Logger, found: readonly Found[]) => {
  const limit = pLimit(inspectsAtOnce)
  const described = await Promise.all(found.map((one) => limit(() => describe(client, logger, one))))
  return described.filter((one) => one !== null)
}

/**
 * The list knows neither pid nor restart policy. While the engine works on a container its inspect hangs; what cannot be
 * known counts as running, for unknown means in use.
 */
const describe = async (
  client: DockerClient,
  logger: Logger,
  { summary, mount }: Found,
): Promise<{ volume: string; use: ContainerUse } | null> => {
  const listed = {
    id: summary.Id,
    name: ownName(summary.Names),
    image: summary.Image,
    mountPath: mount.Destination,
  }
  const volume = mount.Name ?? ''
  try {
    const inspected = await orNull(inspectContainer(client, summary.Id, inspectMs))
    if (inspected === null) return null
    const { State: state, HostConfig: host } = inspected
    return {
      volume,
      use: {
        ...listed,
        state: state.Status,
        pid: state.Pid,
        startsByItself: startingPolicies.includes(host.RestartPolicy?.Name ?? ''),
      },
    }
  } catch (error) {
    logger.warn({ container: listed.name, error }, 'container cannot be inspected; taken as running')
    return { volume, use: { ...listed, state: 'running', pid: 0, startsByItself: true } }
  }
}
