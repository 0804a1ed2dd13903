/**
 * The parts of the engine's JSON that this room reads (API 1.40 to 1.50). Fields that are only carried are `unknown`
 * and pass through as they came.
 */

export interface WireMount {
  readonly Type?: string
  readonly Name?: string
  readonly Source?: string
  readonly Destination: string
  readonly Driver?: string
  readonly RW?: boolean
}

export interface WireEndpoint {
  readonly IPAMConfig?: Readonly<Record<string, unknown>> | null
  readonly Links?: readonly string[] | null
  readonly Aliases?: readonly string[] | null
  readonly DriverOpts?: Readonly<Record<string, string>> | null
  readonly GwPriority?: number
  readonly NetworkID?: string
  readonly IPAddress?: string
  readonly MacAddress?: string
}

/** An entry of HostConfig.Mounts. */
export interface WireMountSpec {
  readonly Type: string
  readonly Source?: string
  readonly Target: string
  readonly ReadOnly?: boolean
  readonly VolumeOptions?: Readonly<Record<string, unknown>> | null
}

export interface WireHostConfig extends Readonly<Record<string, unknown>> {
  readonly Binds?: readonly string[] | null
  readonly Mounts?: readonly WireMountSpec[] | null
  readonly NetworkMode?: string
  readonly PidMode?: string
  readonly IpcMode?: string
  readonly UTSMode?: string
  readonly Links?: readonly string[] | null
  readonly VolumesFrom?: readonly string[] | null
  readonly PortBindings?: Readonly<
    Record<string, readonly { readonly HostIp?: string; readonly HostPort?: string }[] | null>
  > | null
  readonly RestartPolicy?: { readonly Name?: string; readonly MaximumRetryCount?: number }
  readonly AutoRemove?: boolean
  readonly Devices?: readonly { readonly PathOnHost?: string; readonly PathInContainer?: string }[] | null
  readonly Runtime?: string
  readonly LogConfig?: { readonly Type?: string }
}

export interface WireConfig extends Readonly<Record<string, unknown>> {
  readonly Image?: string
  readonly Hostname?: string
  readonly MacAddress?: string
  readonly Entrypoint?: readonly string[] | null
  readonly Labels?: Readonly<Record<string, string>> | null
  readonly Volumes?: Readonly<Record<string, unknown>> | null
  readonly Healthcheck?: { readonly Test?: readonly string[] | null } | null
  readonly StopTimeout?: number | null
}

export interface WireState {
  readonly Status: string
  readonly Running: boolean
  readonly Paused: boolean
  readonly Restarting: boolean
  readonly Pid: number
  readonly ExitCode: number
  readonly Error?: string
  readonly StartedAt: string
  readonly Health?: {
    readonly Status: string
    readonly Log?: readonly { readonly ExitCode: number; readonly Output: string }[] | null
  } | null
}

/** GET /containers/ID/json */
export interface WireContainer {
  readonly Id: string
  readonly Name: string
  readonly Image: string
  readonly State: WireState
  readonly Config: WireConfig
  readonly HostConfig: WireHostConfig
  readonly Mounts?: readonly WireMount[] | null
  readonly NetworkSettings: { readonly Networks?: Readonly<Record<string, WireEndpoint | null>> | null }
}

/** One of GET /containers/json */
export interface WireSummary {
  readonly Id: string
  readonly Names?: readonly string[] | null
  readonly Image: string
  readonly State: string
  readonly Labels?: Readonly<Record<string, string>> | null
  readonly Ports?: readonly { readonly IP?: string; readonly PublicPort?: number; readonly Type: string }[] | null
  readonly Mounts?: readonly WireMount[] | null
}

/** The body of POST /containers/create, in the part that is changed on the way. */
export interface WireCreate extends WireConfig {
  readonly HostConfig: WireHostConfig
  readonly NetworkingConfig?: { readonly EndpointsConfig: Readonly<Record<string, unknown>> }
}

export const droverDriver = 'drover'
/** Every container that a move made carries it, with the move's id. */
export const moveLabel = 'drover.move'

/** A managed plugin is named with its tag, `drover:latest`. */
export const isDroverDriver = (driver: string | undefined): boolean =>
  driver === droverDriver || driver?.startsWith(`${droverDriver}:`) === true

export const isMountOf = (mount: WireMount, volumeName: string): boolean =>
  mount.Type === 'volume' && isDroverDriver(mount.Driver) && mount.Name === volumeName

/** `/db` -> `db`; of the names of a linked container, which has several, the one that is its own. */
export const ownName = (names: readonly string[] | null | undefined): string => {
  const own = names?.find((name) => name.lastIndexOf('/') === 0) ?? names?.[0] ?? ''
  return own.replace(/^\//, '')
}
