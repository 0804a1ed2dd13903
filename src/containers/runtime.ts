import type { MoveId } from '../domain/ids.ts'

/** A container that refers to a volume. */
export interface ContainerUse {
  readonly id: string
  readonly name: string
  readonly image: string
  /** Docker's own words: created, running, paused, restarting, removing, exited, dead. */
  readonly state: string
  /** Main process, on the host; 0 when it does not run. */
  readonly pid: number
  /** The engine would start it by itself (restart policy always, unless-stopped or on-failure). */
  readonly startsByItself: boolean
  /** Where the volume is mounted in it. */
  readonly mountPath: string
}

/** Runs, is paused or restarting, or would be started by the engine: a Mount elsewhere must not steal from it. */
export const holdsVolume = (use: ContainerUse): boolean =>
  ['running', 'paused', 'restarting'].includes(use.state) || (use.startsByItself && use.state !== 'created')

/**
 * A container, whole, as plain JSON: enough to make it again here or elsewhere. Journaled before it is stopped, for a
 * `--rm` container vanishes when it stops.
 */
export interface ContainerSpec {
  readonly name: string
  /** The id it had where it was captured. */
  readonly id: string
  /** The volume that moves, for which it was captured. */
  readonly volumeName: string
  /** Others that it uses and that move along, in one group with the first. */
  readonly alongside?: readonly string[]
  readonly imageId: string
  /** What it was created from: a reference such as `postgres:16`, or the image id. */
  readonly imageName: string
  readonly wasRunning: boolean
  readonly wasPaused: boolean
  readonly stopTimeoutS: number | null
  readonly hasHealthCheck: boolean
  readonly autoRemove: boolean
  readonly restartPolicy: { readonly name: string; readonly maximumRetryCount: number }
  /** Host ports it publishes. */
  readonly hostPorts: readonly { readonly ip: string; readonly port: number; readonly protocol: string }[]
  /** Networks by name, but for the built-in modes. */
  readonly networks: readonly string[]
  readonly bindMounts: readonly { readonly source: string; readonly target: string }[]
  /** Volumes other than those that move. */
  readonly otherVolumes: readonly { readonly name: string; readonly driver: string; readonly target: string }[]
  /** The service, when it is a Swarm task. */
  readonly swarmService: string | null
  /** Body of the engine's container create call (Config + HostConfig + NetworkingConfig), as captured. */
  readonly create: Readonly<Record<string, unknown>>
  /** Endpoint settings of the networks beyond the first: connected after create. */
  readonly extraNetworks: Readonly<Record<string, unknown>>
}

/** Every volume of it that moves. */
export const movedVolumes = ({ volumeName, alongside }: ContainerSpec): [string, ...string[]] => [
  volumeName,
  ...(alongside ?? []),
]

/** One thing that cannot be carried, for a person: what it is, and the way out. */
export interface CarryProblem {
  readonly container: string
  readonly what: string
  readonly wayOut: string
}

/** What a move made on its target. */
export interface MadeContainer {
  readonly id: string
  readonly name: string
  readonly moveId: string
  /** Nothing of it has run yet: its file system is its image's. */
  readonly neverStarted: boolean
}

/** The Docker engine of one host, as far as volumes and moves need it. Everything takes a deadline; nothing waits for ever. */
export interface ContainerRuntime {
  /** @throws DOCKER_UNREACHABLE */
  ping(): Promise<{ version: string }>
  /** Every container, stopped ones too, that refers to the volume of driver `drover`. */
  usersOf(volumeName: string): Promise<ContainerUse[]>
  /** The same for all Drover volumes at once. */
  allUsers(): Promise<Map<string, ContainerUse[]>>
  /** Names of all containers by id, as listed: no container's lock is waited for. */
  names(): Promise<ReadonlyMap<string, string>>
  /** @param volumeNames those that move; it uses at least one of them. @throws DOCKER_FAILED when it does not exist */
  capture(containerId: string, volumeNames: readonly [string, ...string[]]): Promise<ContainerSpec>
  /**
   * On the target: what of these specs cannot be carried here. Empty: all can. `dropMounts` are mount paths that may be
   * left behind; containers that `moveId` has made here already are not in the way.
   */
  checkCarry(specs: readonly ContainerSpec[], dropMounts: readonly string[], moveId?: MoveId): Promise<CarryProblem[]>
  /** Switches the restart policy off, so that the engine does not start it by itself. The absent is a success. */
  disarm(containerId: string): Promise<void>
  /** Puts the restart policy back. The absent is a success. */
  rearm(containerId: string, policy: ContainerSpec['restartPolicy']): Promise<void>
  /** Stops it by its stop signal, SIGKILL after its stop timeout, and waits for its end. Stopped or absent: success. */
  stop(containerId: string, timeoutS: number | null, signal?: AbortSignal): Promise<void>
  pause(containerId: string): Promise<void>
  /** Not paused, or absent: success. */
  unpause(containerId: string): Promise<void>
  /** SIGKILL to every task in its cgroup while it is still frozen, then thawed only to die; waits until all are reaped. */
  killFrozen(containerId: string): Promise<void>
  start(containerId: string): Promise<void>
  /** The container id by name, or null. */
  find(name: string): Promise<{ id: string; state: string; labels: Readonly<Record<string, string>> } | null>
  /**
   * Makes the container without copy-up and without starting it, under `name`, with restart policy off and label
   * `drover.move=<move>`. Made already (same name and label): its id. Image id is taken as it is here.
   */
  create(spec: ContainerSpec, name: string, moveId: MoveId, dropMounts: readonly string[]): Promise<string>
  rename(containerId: string, name: string): Promise<void>
  /** Removes it, not its volumes. The absent is a success. */
  remove(containerId: string): Promise<void>
  /** Every container that carries label `drover.move`, by move. */
  madeByMoves(): Promise<MadeContainer[]>
  hasImage(imageId: string): Promise<boolean>
  /** A tar as `docker save` writes it. */
  saveImage(imageNameOrId: string): Promise<NodeJS.ReadableStream>
  /** Loads such a tar, then tags `imageId` as `imageName` if nothing has that name. */
  loadImage(stream: NodeJS.ReadableStream, imageId: string, imageName: string): Promise<void>
  /**
   * Healthy, or without a health check running for 2 s. Resolves to null, or to the reason (its last health output, its
   * exit status) after `timeoutMs`.
   */
  awaitHealthy(containerId: string, timeoutMs: number, signal?: AbortSignal): Promise<string | null>
}
