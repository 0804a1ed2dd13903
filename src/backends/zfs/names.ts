import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'

/**
 * Where things lie below the pool's dataset. Each volume is a dataset that holds no files but the record, in user properties, and has
 * these below it:
 *
 *     <id>/live             what containers write to
 *     <id>/making           a live dataset on its way, not valid yet
 *     <id>/kept-<number>    snapshots whose live dataset is gone, or that were received: read-only, never mounted
 *     <id>/partial-<move>/  a receive under way, in `snap`
 *     drover-trash/<what>   being removed
 *
 * A snapshot of the volume is one of `live` or of a `kept-`, wherever it came to lie; its name is unique in the volume.
 */
export class Names {
  readonly pool: string

  constructor(pool: string) {
    this.pool = pool
  }

  get trash(): string {
    return `${this.pool}/drover-trash`
  }

  volume(id: VolumeId): string {
    return `${this.pool}/${id}`
  }

  live(id: VolumeId): string {
    return `${this.volume(id)}/live`
  }

  making(id: VolumeId): string {
    return `${this.volume(id)}/making`
  }

  kept(id: VolumeId, number: string): string {
    return `${this.volume(id)}/kept-${number}`
  }

  partial(id: VolumeId, name: string): string {
    return `${this.volume(id)}/partial-${checkName(name)}`
  }

  receiving(id: VolumeId, name: string): string {
    return `${this.partial(id, name)}/snap`
  }

  /** The receive under way that a dataset is of; null: of none. */
  partialOf(id: VolumeId, dataset: string): string | null {
    const volume = `${this.volume(id)}/`
    if (!dataset.startsWith(volume)) return null
    return /^partial-([^/]+)(?:\/snap)?$/.exec(dataset.slice(volume.length))?.[1] ?? null
  }

  /** Of `<id>/live` and `<id>/kept-<number>`, and of nothing deeper. */
  holdsSnapshots(id: VolumeId, dataset: string): boolean {
    const below = dataset.slice(this.volume(id).length + 1)
    return dataset.startsWith(`${this.volume(id)}/`) && /^(live|kept-[0-9a-z-]+)$/.test(below)
  }
}

/** Snapshots of Drover's own use begin with this; nobody else is told of them. */
export const internalPrefix = 'drover-'
/** What a stream brings is called this until it is proved. */
export const arriving = `${internalPrefix}arriving`

/** A name of ZFS has 255 characters, pool and volume and all. */
const shape = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,99}$/
export const longestPool = 80

export const checkName = (name: string): string => {
  if (shape.test(name) && !name.startsWith(internalPrefix)) return name
  throw new DroverError(
    'BAD_NAME',
    `${JSON.stringify(name.slice(0, 64))} cannot name a snapshot; use at most 100 letters, digits, _ . and -, and do not begin with ${internalPrefix}`,
  )
}
