import type { Clock } from '../lib/clock.ts'
import type { Exec } from '../lib/exec.ts'
import type { Logger } from '../lib/logger.ts'
import { specFromInspect } from './capture.ts'
import { carryProblems } from './carry-check.ts'
import { collectCarryFacts } from './carry-facts.ts'
import { createContainer } from './create.ts'
import { createDockerClient, getJson, quickMs } from './docker-client.ts'
import { killFrozen, pauseContainer, unpauseContainer } from './freeze.ts'
import { awaitHealthy } from './health.ts'
import { hasImage, loadImage, saveImage } from './image.ts'
import {
  findContainer,
  madeByMoves,
  removeContainer,
  renameContainer,
  setRestartPolicy,
  startContainer,
  stopContainer,
} from './lifecycle.ts'
import { introduceContainer } from './neighbours.ts'
import type { ContainerRuntime } from './runtime.ts'
import { allUsers, containerNames, inspectContainer, usersOf } from './uses.ts'

export interface DockerRuntimeOptions {
  /** `unix:///var/run/docker.sock`, or the bare path. */
  readonly socketPath: string
  readonly clock: Clock
  readonly logger: Logger
  /** On the host's network. */
  readonly exec: Exec
  /** The host's /proc, with the host's pids. Default `/proc`. */
  readonly procRoot?: string
  /** Default `/sys/fs/cgroup`. */
  readonly cgroupRoot?: string
}

export const createDockerRuntime = (options: DockerRuntimeOptions): ContainerRuntime => {
  const { clock, logger, exec } = options
  const client = createDockerClient({ socketPath: options.socketPath, clock, logger })
  const roots = { proc: options.procRoot ?? '/proc', cgroup: options.cgroupRoot ?? '/sys/fs/cgroup' }

  return {
    async ping() {
      const version = await client.call('tell its version', quickMs, getJson<{ Version: string }>('/version'))
      return { version: version.Version }
    },
    usersOf: (volumeName) => usersOf(client, logger, volumeName),
    allUsers: () => allUsers(client, logger),
    names: () => containerNames(client),
    async capture(containerId, volumeNames) {
      const inspected = await inspectContainer(client, containerId)
      // Only on the host's network does the container's host name need the engine's to be told apart.
      const engineName = inspected.HostConfig.NetworkMode === 'host' ? await engineHostName() : ''
      return specFromInspect(inspected, volumeNames, engineName)
    },
    checkCarry: async (specs, dropMounts, moveId) =>
      specs.length === 0 ? [] : carryProblems(specs, await collectCarryFacts(client, specs), dropMounts, moveId),
    disarm: (containerId) => setRestartPolicy(client, containerId, { name: 'no', maximumRetryCount: 0 }),
    rearm: (containerId, policy) => setRestartPolicy(client, containerId, policy),
    stop: (containerId, timeoutS, signal) => stopContainer(client, containerId, timeoutS, signal),
    pause: (containerId) => pauseContainer(client, containerId),
    unpause: (containerId) => unpauseContainer(client, containerId),
    killFrozen: (containerId) => killFrozen({ client, clock, logger, roots }, containerId),
    async start(containerId) {
      await startContainer(client, containerId)
      await introduceContainer({ client, exec, logger }, containerId)
    },
    find: (name) => findContainer(client, name),
    create: (spec, name, moveId, dropMounts) => createContainer(client, { spec, name, moveId, dropMounts }),
    rename: (containerId, name) => renameContainer(client, containerId, name),
    remove: (containerId) => removeContainer(client, containerId, clock),
    madeByMoves: () => madeByMoves(client),
    hasImage: (imageId) => hasImage(client, imageId),
    saveImage: (imageNameOrId) => saveImage(client, clock, imageNameOrId),
    loadImage: (stream, imageId, imageName) => loadImage(client, clock, stream, imageId, imageName),
    awaitHealthy: (containerId, timeoutMs, signal) => awaitHealthy({ client, clock }, containerId, timeoutMs, signal),
  }

  async function engineHostName(): Promise<string> {
    const info = await client.call('tell its name', quickMs, getJson<{ Name?: string }>('/info'))
    return info.Name ?? ''
  }
}
