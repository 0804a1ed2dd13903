import type { Backend } from '../backends/backend.ts'
import type { Epoch } from '../domain/dataset.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import type { HostId, VolumeId } from '../domain/ids.ts'
import type { Held, VolumeHost } from './host.ts'
import { isMountedHere } from './usage.ts'

/** A pool that cannot say what it holds of the volume. */
interface Dark {
  readonly backend: Backend
  readonly error: DroverError
  /** It is known to hold something of it. */
  readonly holds: boolean
}

/** The copies as far as pools answer: for the writers of this volume, whom a broken pool that has nothing of it must not stop. */
const look = async (host: VolumeHost, id: VolumeId): Promise<{ copies: Held[]; dark: Dark[] }> => {
  const dark: Dark[] = []
  const copyIn = async (backend: Backend): Promise<Held | null> => {
    try {
      return await host.copyIn(backend, id)
    } catch (thrown) {
      if (host.backends.length === 1) throw thrown
      const error = asDroverError(thrown)
      // A record that is there and cannot be understood is one of this volume.
      dark.push({ backend, error, holds: error.code === 'DATASET_FOREIGN' || host.reads.hasSeen(backend, id) })
      return null
    }
  }
  const read = await Promise.all(host.backends.map(copyIn))
  return { copies: host.byStanding(read.filter((copy) => copy !== null)), dark }
}

/**
 * The copies that a Mount goes by. A pool that cannot be looked at is left out only beside a copy that may say by itself that it counts:
 * a move within this host seals and releases its source, in the source's own record, before the target becomes owner, so that a record
 * `owner` is passed by no other copy unless its own disk was put back to an older state. Of that the table of names may tell.
 * @throws POOL_UNREACHABLE, DATASET_FOREIGN
 */
export const copiesToMount = async (host: VolumeHost, id: VolumeId): Promise<Held[]> => {
  const { copies, dark } = await look(host, id)
  const [first] = dark
  if (first === undefined) return copies
  const holding = dark.find(({ holds }) => holds)
  if (holding !== undefined) throw refusal(host, id, holding)
  const [counting] = copies
  const entry = host.catalog.entries().find((other) => other.id === id)
  const isHere = entry === undefined || entry.ownerHostId === host.identity.hostId
  const speaks =
    counting !== undefined &&
    host.isBound(counting) &&
    ['owner', 'sealed', 'released'].includes(counting.record.role) &&
    counting.record.epoch >= (entry?.epoch ?? 0)
  if (isHere && !speaks) throw refusal(host, id, first)
  tell(host, id, dark)
  return copies
}

/**
 * The copy that an Unmount is about: the one that is mounted, as soon as its own pool has answered; with none, the one that counts.
 * @throws POOL_UNREACHABLE, DATASET_FOREIGN
 */
export const copyToUnmount = async (host: VolumeHost, id: VolumeId): Promise<Held | null> => {
  if (host.backends.length > 1) {
    const mounted = await Promise.any(host.backends.map((backend) => mountedIn(host, backend, id))).catch(() => null)
    if (mounted !== null) return mounted
  }
  const { copies, dark } = await look(host, id)
  const [counting = null] = copies
  const missed = dark.find(({ holds }) => holds) ?? (counting === null ? dark[0] : undefined)
  if (missed !== undefined) throw refusal(host, id, missed)
  return counting
}

const mountedIn = async (host: VolumeHost, backend: Backend, id: VolumeId): Promise<Held> => {
  const held = await host.copyIn(backend, id)
  if (held !== null && (await isMountedHere(host, held))) return held
  throw new Error('not mounted from there')
}

/** The highest epoch at which others than `asker` owned it, or copies here were owned, as far as pools answer. */
export const heardHere = async (
  host: VolumeHost,
  id: VolumeId,
  asker: HostId = host.identity.hostId,
): Promise<Epoch> => {
  const entry = host.catalog.entries().find((other) => other.id === id)
  const told = entry !== undefined && entry.ownerHostId !== asker ? entry.epoch : 0
  const { copies } = await look(host, id)
  return Math.max(told, ...copies.map(({ record }) => record.epoch))
}

const tell = (host: VolumeHost, id: VolumeId, dark: readonly Dark[]): void => {
  for (const { backend, error } of dark) {
    host.logger.warn(
      { volume: nameOf(host, id), pool: backend.spec.text, reason: error.message },
      'a pool does not answer: left out, nothing of the volume was seen there',
    )
  }
}

const refusal = (host: VolumeHost, id: VolumeId, { backend, error, holds }: Dark): DroverError => {
  if (error.code === 'DATASET_FOREIGN') return error
  const why = holds ? 'holds a copy of it' : 'may hold the copy of it that counts'
  return new DroverError(
    'POOL_UNREACHABLE',
    `volume ${nameOf(host, id)} is left as it is on host ${host.identity.hostName}: pool ${backend.spec.text}, which ${why}, does not answer (${error.message}); see its disk`,
    { cause: error },
  )
}

const nameOf = (host: VolumeHost, id: VolumeId): string =>
  host.catalog.entries().find((entry) => entry.id === id)?.name ?? id
