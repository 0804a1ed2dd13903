import type { ContainerSpec } from './runtime.ts'
import {
  droverDriver,
  isMountOf,
  moveLabel,
  ownName,
  type WireConfig,
  type WireContainer,
  type WireEndpoint,
  type WireHostConfig,
  type WireMount,
  type WireMountSpec,
} from './wire.ts'

const builtInNetworks = ['bridge', 'host', 'none']

/**
 * What the engine tells of a container, turned back into what it was made from: everything that the user set stays,
 * everything that the engine filled in goes.
 * @param volumeNames those that move; what it does not use of them is not told
 * @param engineName the engine's host name: a container on the host's network shows it as its own
 */
export const specFromInspect = (
  inspected: WireContainer,
  volumeNames: readonly [string, ...string[]],
  engineName: string,
): ContainerSpec => {
  const { Config: config, HostConfig: host, State: state } = inspected
  const mounts = inspected.Mounts ?? []
  const [first = volumeNames[0], ...alongside] = volumeNames.filter((name) =>
    mounts.some((mount) => isMountOf(mount, name)),
  )
  const networks = splitNetworks(inspected)
  const { Labels: labels, ...settings } = config
  const { [moveLabel]: _earlierMove, ...ownLabels } = labels ?? {}
  return {
    name: ownName([inspected.Name]),
    id: inspected.Id,
    volumeName: first,
    ...(alongside.length === 0 ? {} : { alongside }),
    imageId: inspected.Image,
    imageName: config.Image ?? inspected.Image,
    wasRunning: state.Running,
    wasPaused: state.Paused,
    stopTimeoutS: config.StopTimeout ?? null,
    hasHealthCheck: hasHealthCheck(config),
    autoRemove: host.AutoRemove === true,
    restartPolicy: {
      name: host.RestartPolicy?.Name || 'no',
      maximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    hostPorts: hostPorts(host),
    networks: networks.names,
    bindMounts: mounts
      .filter((mount) => mount.Type === 'bind')
      .map((mount) => ({ source: mount.Source ?? '', target: mount.Destination })),
    otherVolumes: mounts
      .filter((mount) => !['bind', 'tmpfs'].includes(mount.Type ?? '') && !isMoved(mount, volumeNames))
      .map((mount) => ({ name: mount.Name ?? '', driver: mount.Driver ?? '', target: mount.Destination })),
    swarmService: swarmService(labels ?? {}),
    create: {
      ...settings,
      ...(keepsHostname(inspected, engineName) ? {} : { Hostname: '' }),
      // The engine puts the image's entry point in place of an absent one; [""] says that there is none.
      Entrypoint: (config.Entrypoint?.length ?? 0) > 0 ? config.Entrypoint : [''],
      Labels: ownLabels,
      HostConfig: {
        ...host,
        ContainerIDFile: '',
        NetworkMode: networks.mode,
        Links: host.Links?.map(linkAsGiven) ?? null,
        Mounts: mountsAsGiven(inspected, volumeNames),
      },
      ...(networks.first === null ? {} : { NetworkingConfig: { EndpointsConfig: networks.first } }),
    },
    extraNetworks: networks.extra,
  }
}

const isMoved = (mount: WireMount, volumeNames: readonly string[]): boolean =>
  volumeNames.some((name) => isMountOf(mount, name))

const hasHealthCheck = (config: WireConfig): boolean => {
  const test = config.Healthcheck?.Test ?? []
  return test.length > 0 && test[0] !== 'NONE'
}

const swarmService = (labels: Readonly<Record<string, string>>): string | null =>
  labels['com.docker.swarm.service.name'] ?? labels['com.docker.swarm.task.name'] ?? null

const keepsHostname = ({ Id, Config, HostConfig }: WireContainer, engineName: string): boolean => {
  const name = Config.Hostname ?? ''
  if (name === '' || Id.startsWith(name) || HostConfig.UTSMode === 'host') return false
  return !(HostConfig.NetworkMode === 'host' && name === engineName)
}

const hostPorts = (host: WireHostConfig): ContainerSpec['hostPorts'] =>
  Object.entries(host.PortBindings ?? {}).flatMap(([exposed, bindings]) =>
    (bindings ?? [])
      // No port, 0, or a range: the engine picks a free one.
      .filter(({ HostPort }) => /^[1-9]\d*$/.test(HostPort ?? ''))
      .map(({ HostIp, HostPort }) => ({
        ip: HostIp ?? '',
        port: Number(HostPort),
        protocol: exposed.split('/')[1] ?? 'tcp',
      })),
  )

/** Inspect tells `/other:/me/alias` of what was given as `other:alias`. */
const linkAsGiven = (link: string): string => {
  const [other = '', alias = ''] = link.split(':')
  const otherName = other.replace(/^\//, '')
  const aliasName = alias.slice(alias.lastIndexOf('/') + 1)
  return aliasName === '' ? otherName : `${otherName}:${aliasName}`
}

/** An anonymous volume has no entry that names it: without one, the copy would get a new, empty volume. */
const mountsAsGiven = (inspected: WireContainer, volumeNames: readonly string[]): readonly WireMountSpec[] => {
  const host = inspected.HostConfig
  const targets = (inspected.Mounts ?? []).filter((mount) => isMoved(mount, volumeNames))
  const given = (host.Mounts ?? []).map((mount) => {
    if (mount.Type !== 'volume' || mount.Source) return mount
    const Source = targets.find(({ Destination }) => Destination === mount.Target)?.Name
    return Source === undefined ? mount : { ...mount, Source }
  })
  const inherited = (host.VolumesFrom?.length ?? 0) > 0
  const unnamed = targets.filter(
    ({ Destination }) =>
      !given.some((mount) => mount.Target === Destination) &&
      !(host.Binds ?? []).some((bind) => bind.split(':')[1] === Destination),
  )
  if (inherited) return given
  return [
    ...given,
    ...unnamed.map((mount) => ({
      Type: 'volume',
      ...(mount.Name === undefined ? {} : { Source: mount.Name }),
      Target: mount.Destination,
      ReadOnly: mount.RW === false,
      VolumeOptions: { DriverConfig: { Name: droverDriver } },
    })),
  ]
}

const splitNetworks = (inspected: WireContainer) => {
  const given = inspected.HostConfig.NetworkMode ?? 'default'
  const shown = inspected.NetworkSettings.Networks ?? {}
  const shownNames = Object.keys(shown)
  const wanted = given === 'default' ? 'bridge' : given
  const isWanted = (name: string) => {
    const id = shown[name]?.NetworkID ?? ''
    return name === wanted || (wanted.length >= 12 && id.startsWith(wanted))
  }
  // A container that was taken off the network it was made on starts on one of those it is on.
  const first = given.startsWith('container:') ? undefined : (shownNames.find(isWanted) ?? shownNames[0])
  const endpoint = (name: string) => userEndpoint(shown[name], inspected)
  const isBuiltIn = first === undefined || builtInNetworks.includes(first)
  return {
    mode: first === undefined || first === wanted ? given : first,
    names: shownNames.filter((name) => !builtInNetworks.includes(name)),
    first: isBuiltIn ? null : { [first]: endpoint(first) },
    extra: Object.fromEntries(
      shownNames
        .filter((name) => name !== first)
        .map((name) => [name, builtInNetworks.includes(name) ? {} : endpoint(name)]),
    ),
  }
}

/** Only what a user can set; the engine adds the short id and the host name to the aliases by itself. */
const userEndpoint = (shown: WireEndpoint | null | undefined, { Id, Config }: WireContainer): WireEndpoint => {
  const aliases = (shown?.Aliases ?? []).filter((alias) => alias !== Id.slice(0, 12) && alias !== Config.Hostname)
  const addresses = Object.fromEntries(
    Object.entries(shown?.IPAMConfig ?? {}).filter(([, value]) => value !== '' && value !== null),
  )
  const options = shown?.DriverOpts ?? {}
  return {
    ...(Object.keys(addresses).length === 0 ? {} : { IPAMConfig: addresses }),
    ...((shown?.Links?.length ?? 0) === 0 ? {} : { Links: shown?.Links ?? null }),
    ...(aliases.length === 0 ? {} : { Aliases: aliases }),
    ...(Object.keys(options).length === 0 ? {} : { DriverOpts: options }),
    ...(shown?.GwPriority === undefined || shown.GwPriority === 0 ? {} : { GwPriority: shown.GwPriority }),
  }
}
