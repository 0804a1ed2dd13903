import { DroverError } from '../domain/errors.ts'
import type { DatasetMount, DatasetOpener } from '../lib/mount-users.ts'
import type { Held, VolumeHost } from './host.ts'

export const holderKinds = ['mount', 'open file', 'cwd', 'root', 'program', 'mapping'] as const
export type HolderKind = (typeof holderKinds)[number]

/** A process that keeps a volume's file system busy, or an example of those in a mount namespace that has it mounted. */
export interface Holder {
  readonly pid: number
  /** Its command line. */
  readonly command: string
  readonly kinds: readonly HolderKind[]
  /** Where it has it mounted, in its own namespace. */
  readonly mountPoints: readonly string[]
  /** Such as `mnt:[4026531841]`. */
  readonly namespace: string
  /** It is in the mount namespace of `vold`, which is the host's. */
  readonly hostNamespace: boolean
  /** By its cgroup; null outside of any container. The name is null also when the engine does not tell it in time. */
  readonly containerId: string | null
  readonly containerName: string | null
}

const namesWithinMs = 500

/** Everything that uses the dataset in any mount namespace, but for our own mount at the stable path. */
export const holdersOf = async (host: VolumeHost, { backend, record }: Held): Promise<Holder[]> => {
  const fingerprint = await backend.fingerprint(record.volumeId)
  if (fingerprint === null) return []
  const [mounts, openers] = await Promise.all([host.machine.mountsOf(fingerprint), host.machine.openersOf(fingerprint)])
  const others = mounts.filter((mount) => !(mount.own && mount.mountPoint === host.mountPath(record.volumeId)))
  return named(host, merge(others, openers))
}

/** Mounts as holders, for a caller that has looked at them already. */
export const holdersOfMounts = (host: VolumeHost, mounts: readonly DatasetMount[]): Promise<Holder[]> =>
  named(host, merge(mounts, []))

const merge = (mounts: readonly DatasetMount[], openers: readonly DatasetOpener[]): Holder[] => {
  const byPid = new Map<number, Holder>()
  const add = (holder: Holder) => {
    const known = byPid.get(holder.pid)
    byPid.set(holder.pid, {
      ...holder,
      kinds: [...new Set([...(known?.kinds ?? []), ...holder.kinds])],
      mountPoints: [...(known?.mountPoints ?? []), ...holder.mountPoints],
    })
  }
  for (const { pid, command, namespace, containerId, own, mountPoint } of mounts) {
    const mountPoints = [mountPoint]
    const who = { pid, command, namespace, containerId, containerName: null }
    add({ ...who, kinds: ['mount'], mountPoints, hostNamespace: own })
  }
  for (const { pid, command, namespace, containerId, own, what } of openers) {
    const who = { pid, command, namespace, containerId, containerName: null }
    add({ ...who, kinds: what.map(kindOf), mountPoints: [], hostNamespace: own })
  }
  return [...byPid.values()]
}

const kindOf = (what: string): HolderKind => {
  if (what === 'cwd' || what === 'root' || what === 'mapping') return what
  return what === 'exe' ? 'program' : 'open file'
}

/** The engine is asked for names only when there is a container to be named, and only for a moment: it may be waiting for us. */
const named = async (host: VolumeHost, holders: readonly Holder[]): Promise<Holder[]> => {
  if (host.containerNames === null || holders.every(({ containerId }) => containerId === null)) return [...holders]
  const enough = new AbortController()
  const nothing = (): ReadonlyMap<string, string> => new Map()
  const late = host.clock.sleep(namesWithinMs, enough.signal).then(nothing, nothing)
  const names = await Promise.race([host.containerNames().catch(nothing), late])
  enough.abort()
  return holders.map((holder) => ({ ...holder, containerName: names.get(holder.containerId ?? '') ?? null }))
}

/** `pid 4711 (sleep 600; open file) in container web in mnt:[4026532567]`: all of a holder, for a person. */
export const holderText = (holder: Holder): string => {
  const { pid, command, kinds, mountPoints, namespace, hostNamespace, containerId, containerName } = holder
  const what = kinds.map((kind) => (kind === 'mount' ? `mount at ${mountPoints.join(' and ')}` : kind))
  const container = containerId === null ? '' : ` in container ${containerName ?? containerId.slice(0, 12)}`
  const where = hostNamespace ? "the host's mount namespace" : 'mount namespace'
  return `pid ${pid} (${shortened(command)}; ${what.join(', ')})${container} in ${where} ${namespace}`
}

const commandChars = 80
const shortened = (command: string): string => {
  const line = command.replace(/\s+/g, ' ')
  return line.length > commandChars ? `${line.slice(0, commandChars)}...` : line
}

const namedInLine = 3

export const holdersText = (holders: readonly Holder[]): string => {
  const more = holders.length - namedInLine
  const first = holders.slice(0, namedInLine).map(holderText)
  return [...first, ...(more > 0 ? [`${more} more`] : [])].join(', ')
}

/** What keeps the volume busy, named; `cause` itself when nothing is found to keep it. */
export const busyError = async (host: VolumeHost, held: Held, cause?: DroverError): Promise<DroverError> => {
  const holders = await holdersOf(host, held)
  if (holders.length === 0 && cause !== undefined) return cause
  return heldError(host, held, holders, cause)
}

export const heldError = (
  host: VolumeHost,
  { record }: Held,
  holders: readonly Holder[],
  cause?: DroverError,
): DroverError =>
  new DroverError(
    'VOLUME_BUSY',
    holders.length === 0
      ? `volume ${record.name} was busy on host ${host.identity.hostName}, by something that has gone since; try again`
      : `volume ${record.name} is kept busy on host ${host.identity.hostName} by ${holdersText(holders)}; end it or unmount it there`,
    { details: { holders }, cause },
  )
