import { posix } from 'node:path'
import type { MoveId } from '../domain/ids.ts'
import { type ContainerSpec, movedVolumes } from './runtime.ts'
import { droverDriver, moveLabel, type WireCreate, type WireMountSpec } from './wire.ts'

/** `/data/` and `/data` are one place to the engine. */
export const isDropped = (target: string, dropMounts: readonly string[]): boolean =>
  dropMounts.some((dropped) => samePath(dropped, target))

const samePath = (left: string, right: string): boolean => trimmed(left) === trimmed(right)
const trimmed = (path: string): string => posix.normalize(`${path}/.`)

/**
 * The engine's create call for a copy of a captured container. It cannot start by itself, and the moved volume is
 * taken without copy-up: the engine would mount it at create for that.
 *
 * AutoRemove stays as captured, for an engine cannot change it afterwards; it acts only when a started container ends.
 * @param image reference or id, as it is on this host
 */
export const createBody = (
  spec: ContainerSpec,
  options: { image: string; moveId: MoveId; dropMounts: readonly string[] },
): WireCreate => {
  const captured = spec.create as unknown as WireCreate
  const moved = movedVolumes(spec)
  const kept = (target: string) => !isDropped(target, options.dropMounts)
  const { HostConfig: host, Volumes: declared, Labels: labels } = captured
  return {
    ...captured,
    Image: options.image,
    Labels: { ...labels, [moveLabel]: options.moveId },
    Volumes: Object.fromEntries(Object.entries(declared ?? {}).filter(([target]) => kept(target))),
    HostConfig: {
      ...host,
      RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
      Binds: (host.Binds ?? []).filter((bind) => kept(bindTarget(bind))).map((bind) => withoutCopy(bind, moved)),
      Mounts: (host.Mounts ?? []).filter((mount) => kept(mount.Target)).map((mount) => mountWithoutCopy(mount, moved)),
    },
  }
}

const bindTarget = (bind: string): string => bind.split(':')[1] ?? ''

const withoutCopy = (bind: string, moved: readonly string[]): string => {
  const [source = '', target = '', mode = ''] = bind.split(':')
  if (!moved.includes(source)) return bind
  const modes = mode.split(',').filter((word) => word !== '' && word !== 'copy' && word !== 'nocopy')
  return `${source}:${target}:${[...modes, 'nocopy'].join(',')}`
}

const mountWithoutCopy = (mount: WireMountSpec, moved: readonly string[]): WireMountSpec =>
  mount.Type === 'volume' && moved.includes(mount.Source ?? '')
    ? {
        ...mount,
        VolumeOptions: {
          ...mount.VolumeOptions,
          DriverConfig: mount.VolumeOptions?.DriverConfig ?? { Name: droverDriver },
          NoCopy: true,
        },
      }
    : mount
