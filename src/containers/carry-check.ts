import { BlockList, isIPv4, isIPv6 } from 'node:net'
import type { MoveId } from '../domain/ids.ts'
import { type CarryFacts, devicePaths, portKey } from './carry-facts.ts'
import { isDropped } from './create-body.ts'
import { type CarryProblem, type ContainerSpec, movedVolumes } from './runtime.ts'
import { isDroverDriver, moveLabel, ownName, type WireCreate, type WireEndpoint, type WireSummary } from './wire.ts'

type Problem = Omit<CarryProblem, 'container'>

const stopInstead = 'or use --containers stop to move the volume alone'

interface Target {
  readonly facts: CarryFacts
  readonly dropMounts: readonly string[]
  readonly moveId: MoveId | undefined
}

/** Everything that would keep these containers from living on the target, each with a way out. Pure. */
export const carryProblems = (
  specs: readonly ContainerSpec[],
  facts: CarryFacts,
  dropMounts: readonly string[],
  moveId?: MoveId,
): CarryProblem[] => {
  const target = { facts, dropMounts, moveId }
  return specs.flatMap((spec) =>
    checks.flatMap((check) => check(spec, target).map((problem) => ({ container: spec.name, ...problem }))),
  )
}

const wire = (spec: ContainerSpec): WireCreate => spec.create as unknown as WireCreate

const swarm = ({ swarmService }: ContainerSpec): Problem[] =>
  swarmService === null
    ? []
    : [
        {
          what: `it is a task of the Swarm service ${swarmService}, and Swarm would make it anew where it was`,
          wayOut: `scale the service down first, ${stopInstead}`,
        },
      ]

const volumes = (spec: ContainerSpec, { dropMounts }: Target): Problem[] =>
  spec.otherVolumes
    .filter(({ target }) => !isDropped(target, dropMounts))
    .map(({ name, driver, target }) => {
      const anonymous = /^[0-9a-f]{64}$/.test(name)
      const shown = anonymous ? `an anonymous volume (${name.slice(0, 12)})` : `the volume ${name}`
      const whose = isDroverDriver(driver) ? 'another Drover volume' : `of driver ${driver || 'unknown'}`
      return {
        what: `it also uses ${shown} at ${target}, ${whose}, which this move does not carry`,
        wayOut: `leave it behind with --drop-mount ${target}, ${stopInstead}`,
      }
    })

const binds = (spec: ContainerSpec, { facts, dropMounts }: Target): Problem[] =>
  spec.bindMounts
    .filter(({ source, target }) => facts.missingPaths.has(source) && !isDropped(target, dropMounts))
    .map(({ source, target }) => ({
      what: `its bind mount at ${target} needs ${source}, which is not on the target`,
      wayOut: `make ${source} there, leave it behind with --drop-mount ${target}, ${stopInstead}`,
    }))

const devices = (spec: ContainerSpec, { facts }: Target): Problem[] =>
  devicePaths(spec)
    .filter((path) => facts.missingPaths.has(path))
    .map((path) => ({
      what: `it uses the device ${path}, which is not on the target`,
      wayOut: `bring the device there, ${stopInstead}`,
    }))

const ports = (spec: ContainerSpec, { facts }: Target): Problem[] =>
  spec.hostPorts.flatMap((port) => {
    const shown = `${port.ip === '' ? '' : `${port.ip}:`}${port.port}/${port.protocol}`
    const holder = facts.containers.find((container) =>
      (container.Ports ?? []).some(
        (published) =>
          published.PublicPort === port.port &&
          published.Type === port.protocol &&
          overlap(published.IP ?? '', port.ip),
      ),
    )
    const state = facts.ports.get(portKey(port)) ?? 'free'
    if (holder === undefined && state === 'free') return []
    if (holder === undefined && state === 'no such address') {
      return [
        {
          what: `it publishes ${shown}, an address that the target does not have`,
          wayOut: `give the target the address ${port.ip}, ${stopInstead}`,
        },
      ]
    }
    const by = holder === undefined ? 'a process' : `the container ${ownName(holder.Names)}`
    return [
      {
        what: `it publishes port ${shown}, which ${by} on the target holds`,
        wayOut: `free the port there, ${stopInstead}`,
      },
    ]
  })

const anyAddress = ['', '0.0.0.0', '::']
const overlap = (left: string, right: string): boolean =>
  left === right || anyAddress.includes(left) || anyAddress.includes(right)

const networks = (spec: ContainerSpec, { facts }: Target): Problem[] => {
  const endpoints: Record<string, unknown> = {
    ...wire(spec).NetworkingConfig?.EndpointsConfig,
    ...spec.extraNetworks,
  }
  return spec.networks.flatMap((name) => {
    const network = facts.networks.get(name)
    if (network === undefined) {
      return [
        {
          what: `it is on the network ${name}, which the target does not have`,
          wayOut: `run "docker network create ${name}" there, ${stopInstead}`,
        },
      ]
    }
    const endpoint = endpoints[name] as WireEndpoint | undefined
    return fixedAddresses(endpoint)
      .filter((address) => !network.subnets.some((subnet) => contains(subnet, address)))
      .map((address) => ({
        what: `it has the fixed address ${address} on the network ${name}, whose subnet on the target (${network.subnets.join(', ') || 'none'}) does not hold it`,
        wayOut: `make the network there with the same --subnet, ${stopInstead}`,
      }))
  })
}

const fixedAddresses = (endpoint: WireEndpoint | undefined): string[] =>
  [endpoint?.IPAMConfig?.IPv4Address, endpoint?.IPAMConfig?.IPv6Address].filter(
    (address) => typeof address === 'string' && address !== '',
  ) as string[]

const contains = (subnet: string, address: string): boolean => {
  const [base = '', prefix = ''] = subnet.split('/')
  const list = new BlockList()
  if (isIPv4(base) && isIPv4(address)) list.addSubnet(base, Number(prefix), 'ipv4')
  else if (isIPv6(base) && isIPv6(address)) list.addSubnet(base, Number(prefix), 'ipv6')
  else return false
  return list.check(address, isIPv4(address) ? 'ipv4' : 'ipv6')
}

const names = (spec: ContainerSpec, { facts, moveId }: Target): Problem[] => {
  const holder = byName(facts, spec.name)
  if (holder === undefined || (moveId !== undefined && holder.Labels?.[moveLabel] === moveId)) return []
  return [
    {
      what: `its name is taken on the target by another container (${holder.Id.slice(0, 12)}, ${holder.State})`,
      wayOut: `rename or remove that one ("docker rename ${spec.name} NEW" there), ${stopInstead}`,
    },
  ]
}

const byName = (facts: CarryFacts, name: string): WireSummary | undefined =>
  facts.containers.find((container) => ownName(container.Names) === name)

const sharedNamespaces = (spec: ContainerSpec): Problem[] => {
  const host = wire(spec).HostConfig
  return (
    [
      ['network', host.NetworkMode],
      ['pid', host.PidMode],
      ['ipc', host.IpcMode],
    ] as const
  )
    .filter(([, mode]) => mode?.startsWith('container:'))
    .map(([kind]) => ({
      what: `it lives in the ${kind} namespace of another container`,
      wayOut: `make it with its own ${kind} namespace, ${stopInstead}`,
    }))
}

const neighbours = (spec: ContainerSpec, { facts }: Target): Problem[] => {
  const { HostConfig: host, NetworkingConfig: networking } = wire(spec)
  const endpoints = [...Object.values(networking?.EndpointsConfig ?? {}), ...Object.values(spec.extraNetworks)]
  const links = [...(host.Links ?? []), ...endpoints.flatMap((endpoint) => (endpoint as WireEndpoint).Links ?? [])]
  const absent = (name: string) =>
    !facts.containers.some((container) => ownName(container.Names) === name || container.Id.startsWith(name))
  return [
    ...firstWords(host.VolumesFrom ?? [])
      .filter(absent)
      .map((name) => ({
        what: `it takes volumes from the container ${name} (--volumes-from), which is not on the target`,
        wayOut: `name its volumes with -v instead, ${stopInstead}`,
      })),
    ...firstWords(links)
      .filter(absent)
      .map((name) => ({
        what: `it is linked to the container ${name}, which is not on the target`,
        wayOut: `make that container there first, or use a network instead of --link, ${stopInstead}`,
      })),
  ]
}

const firstWords = (given: readonly string[]): string[] => [...new Set(given.map((text) => text.split(':')[0] ?? ''))]

const engine = (spec: ContainerSpec, { facts }: Target): Problem[] => {
  const { Runtime: runtime = '', LogConfig: log } = wire(spec).HostConfig
  const missing = (kind: string, name: string): Problem => ({
    what: `it needs the ${kind} ${name}, which the target's engine does not have`,
    wayOut: `install it there, ${stopInstead}`,
  })
  const logDriver = log?.Type ?? ''
  const knowsLog = facts.logDrivers.length === 0 || ['', 'none', ...facts.logDrivers].includes(logDriver)
  return [
    ...(runtime === '' || facts.runtimes.length === 0 || facts.runtimes.includes(runtime)
      ? []
      : [missing('container runtime', runtime)]),
    ...(knowsLog ? [] : [missing('log driver', logDriver)]),
  ]
}

const volumeNames = (spec: ContainerSpec, { facts }: Target): Problem[] =>
  movedVolumes(spec).flatMap((name) => {
    const driver = facts.volumeDrivers.get(name)
    if (driver === undefined || isDroverDriver(driver)) return []
    return [
      {
        what: `the target's engine has another volume named ${name}, of driver ${driver}`,
        wayOut: `remove it there ("docker volume rm ${name}") if its data is not needed, ${stopInstead}`,
      },
    ]
  })

const checks = [
  swarm,
  volumes,
  binds,
  devices,
  ports,
  networks,
  names,
  sharedNamespaces,
  neighbours,
  engine,
  volumeNames,
]
