import { DroverError } from '../../../domain/errors.ts'
import type { PoolSpec } from '../../../domain/pool.ts'
import type { VolumeFileSystem } from '../device.ts'
import { parseWhere } from '../where.ts'

/** On every thin volume of Drover's. What lacks it is somebody else's, whatever its name. */
export const ownTag = 'drover'
/** On the one that holds the notes. `new`: it is not whole yet. */
export const notesTag = { whole: 'drover.notes', new: 'drover.notes.new' } as const

/** The longest name that the device mapper takes. */
const longestMapped = 127
/** `VOLUME.UUID.seal`; of the UUID the four hyphens count twice. */
const longestDevice = 26 + 1 + 36 + 4 + '.seal'.length

export interface ThinPool {
  /** As it was given. */
  readonly spec: string
  readonly group: string
  readonly pool: string
  readonly fileSystem: VolumeFileSystem
}

const word = '[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]*'
const shape = new RegExp(`^(${word})/(${word})$`)

/** `lvm:GROUP/POOL`, `lvm:GROUP/POOL?fs=xfs`. @throws BAD_CONFIG */
export const parseThinPool = (spec: PoolSpec): ThinPool => {
  const { where, fileSystem } = parseWhere(spec)
  const problem = (text: string) => new DroverError('BAD_CONFIG', `pool ${spec.text} ${text}`)
  const [, group = '', pool = ''] = shape.exec(where) ?? []
  if (group === '' || [group, pool].some((name) => name === '.' || name === '..')) {
    throw problem('does not name a thin pool; write lvm:GROUP/POOL')
  }
  const longest = Math.max(
    mapped(group, 'drover.').length + longestDevice,
    mapped(group, notesVolume(pool)).length,
    mapped(group, `${pool}-tpool`).length,
  )
  if (longest > longestMapped) {
    throw problem(`has too long a name: ${longest - longestMapped} characters fewer, and its devices could be named`)
  }
  return { spec: spec.text, group, pool, fileSystem }
}

/** The logical volume of a device. */
export const volumeOf = (device: string): string => `drover.${device}`
export const notesVolume = (pool: string): string => `drover.${pool}.notes`

/** As the device mapper names a logical volume. */
export const mapped = (group: string, volume: string): string =>
  `${group.replaceAll('-', '--')}-${volume.replaceAll('-', '--')}`

/** Where the kernel's device mapper has the pool itself. */
export const mappedPool = ({ group, pool }: ThinPool): string => `${mapped(group, pool)}-tpool`
export const mappedMetadata = ({ group, pool }: ThinPool): string => `${mapped(group, pool)}_tmeta`
