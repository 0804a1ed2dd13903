import { access } from 'node:fs/promises'
import { type DockerClient, getJson, orNull, quickMs } from './docker-client.ts'
import { type HostPort, type PortState, probePort } from './ports.ts'
import { type ContainerSpec, movedVolumes } from './runtime.ts'
import { listContainers } from './uses.ts'
import type { WireCreate, WireSummary } from './wire.ts'

/** What the target host has, as far as the containers to carry ask for it. */
export interface CarryFacts {
  readonly containers: readonly WireSummary[]
  /** By name; subnets in CIDR notation. */
  readonly networks: ReadonlyMap<string, { readonly subnets: readonly string[] }>
  /** Sources of bind mounts and device paths that are not there. */
  readonly missingPaths: ReadonlySet<string>
  readonly ports: ReadonlyMap<string, PortState>
  readonly runtimes: readonly string[]
  /** Empty: not known. */
  readonly logDrivers: readonly string[]
  /** Driver of each moving volume's name, where this engine knows the name. */
  readonly volumeDrivers: ReadonlyMap<string, string>
}

export const portKey = ({ ip, port, protocol }: HostPort): string => `${ip}/${port}/${protocol}`

export const devicePaths = (spec: ContainerSpec): string[] =>
  ((spec.create as unknown as WireCreate).HostConfig.Devices ?? []).flatMap(({ PathOnHost }) => PathOnHost ?? [])

export const collectCarryFacts = async (client: DockerClient, specs: readonly ContainerSpec[]): Promise<CarryFacts> => {
  const [containers, networks, info, missingPaths, ports, volumeDrivers] = await Promise.all([
    listContainers(client),
    client.call('list networks', quickMs, (docker, abortSignal) => docker.listNetworks({ abortSignal })),
    client.call('tell its info', quickMs, getJson<WireInfo>('/info')),
    findMissing(specs.flatMap((spec) => [...spec.bindMounts.map(({ source }) => source), ...devicePaths(spec)])),
    probeAll(specs.flatMap((spec) => spec.hostPorts)),
    driversOf(client, new Set(specs.flatMap(movedVolumes))),
  ])
  return {
    containers,
    networks: new Map(
      networks.map((network) => [
        network.Name,
        { subnets: (network.IPAM?.Config ?? []).flatMap((range) => range.Subnet ?? []) },
      ]),
    ),
    missingPaths,
    ports,
    runtimes: Object.keys(info.Runtimes ?? {}),
    logDrivers: info.Plugins?.Log ?? [],
    volumeDrivers,
  }
}

interface WireInfo {
  readonly Runtimes?: Readonly<Record<string, unknown>>
  readonly Plugins?: { readonly Log?: readonly string[] | null }
}

const findMissing = async (paths: readonly string[]): Promise<Set<string>> => {
  const missing = new Set<string>()
  for (const path of new Set(paths)) {
    await access(path).catch(() => missing.add(path))
  }
  return missing
}

// One after the other: two containers may publish one port on different addresses.
const probeAll = async (wanted: readonly HostPort[]): Promise<Map<string, PortState>> => {
  const states = new Map<string, PortState>()
  for (const port of wanted) {
    if (!states.has(portKey(port))) states.set(portKey(port), await probePort(port))
  }
  return states
}

const driversOf = async (client: DockerClient, names: ReadonlySet<string>): Promise<Map<string, string>> => {
  const drivers = new Map<string, string>()
  for (const name of names) {
    const volume = await orNull(
      client.call(`inspect volume ${name}`, quickMs, (docker, abortSignal) =>
        docker.getVolume(name).inspect({ abortSignal }),
      ),
    )
    if (volume !== null) drivers.set(name, volume.Driver)
  }
  return drivers
}
