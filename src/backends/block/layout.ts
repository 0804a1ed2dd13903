import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { ProgressPaths } from './stream/progress.ts'

/**
 * Where notes lie on a pool of block devices. A note names a device; what is in the making, and what is being removed, is noted too,
 * so that after a crash everything that Drover made is found again.
 *
 *     volumes/<id>/volume.json             the record
 *     volumes/<id>/live.json               the live dataset
 *     volumes/<id>/making/<what>.json      a device on its way, not valid yet
 *     volumes/<id>/snapshots/<name>.json   a sealed device
 *     volumes/<id>/partial/<move>.json     a receive under way; <move>.received: it has ended well; <move>.progress, <move>.mark: how far it got
 *     volumes/<id>/frozen                  there for a moment: we have frozen its file system
 *     trash/                               being removed
 *     views/                               snapshots that are being looked at are mounted here
 *     template/, template.xfs              what a new file system holds
 *     reserve                              room for the notes of a full pool
 */
export class Layout {
  readonly home: string

  constructor(home: string) {
    this.home = home
  }

  get volumes(): string {
    return join(this.home, 'volumes')
  }

  get trash(): string {
    return join(this.home, 'trash')
  }

  get views(): string {
    return join(this.home, 'views')
  }

  get reserve(): string {
    return join(this.home, 'reserve')
  }

  volume(id: VolumeId): string {
    return join(this.volumes, id)
  }

  record(id: VolumeId): string {
    return join(this.volume(id), 'volume.json')
  }

  live(id: VolumeId): string {
    return join(this.volume(id), 'live.json')
  }

  frozen(id: VolumeId): string {
    return join(this.volume(id), 'frozen')
  }

  makings(id: VolumeId): string {
    return join(this.volume(id), 'making')
  }

  making(id: VolumeId, what: string): string {
    return join(this.makings(id), `${what}.json`)
  }

  snapshots(id: VolumeId): string {
    return join(this.volume(id), 'snapshots')
  }

  snapshot(id: VolumeId, name: string): string {
    return join(this.snapshots(id), `${checkName(name)}.json`)
  }

  partials(id: VolumeId): string {
    return join(this.volume(id), 'partial')
  }

  partial(id: VolumeId, name: string): string {
    return join(this.partials(id), `${checkName(name)}.json`)
  }

  received(id: VolumeId, name: string): string {
    return join(this.partials(id), `${checkName(name)}.received`)
  }

  progress(id: VolumeId, name: string): ProgressPaths {
    const path = join(this.partials(id), checkName(name))
    return { path: `${path}.progress`, markPath: `${path}.mark` }
  }

  /** All that stands beside the note of a partial. It goes in this order, before the note: never may it be taken for that of a later try. */
  beside(id: VolumeId, name: string): string[] {
    return besideEndings.map((ending) => join(this.partials(id), `${checkName(name)}${ending}`))
  }
}

export const besideEndings = ['.received', '.progress', '.mark']

const shape = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/

const checkName = (name: string): string => {
  if (shape.test(name)) return name
  throw new DroverError(
    'BAD_NAME',
    `${JSON.stringify(name.slice(0, 64))} cannot name a snapshot; use letters, digits, _ . and -`,
  )
}
