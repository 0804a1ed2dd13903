import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'

/**
 * Where things lie on a pool. A snapshot is a plain directory that holds one read-only subvolume of a fixed name, because
 * the kernel does not move a read-only subvolume from one directory to another: the plain directory around it moves instead,
 * from partial/ to snapshots/ when a stream has arrived, and to trash/ in the end.
 *
 *     volumes/<id>/volume.json                 the record
 *     volumes/<id>/live/data/                  what containers see
 *     volumes/<id>/live.making/                a live dataset on its way, not valid yet
 *     volumes/<id>/snapshots/<name>/snap/      read-only
 *     volumes/<id>/partial/<move>/snap/        a receive under way; proof.json beside it: it has ended well, file by file
 *     volumes/<id>/probe.<name>/snap/          there for a moment: the live dataset, read-only
 *     trash/<what>~<number>/                   being removed
 *     reserve                                  room for the notes of a full pool
 */
export class Layout {
  readonly where: string

  constructor(where: string) {
    this.where = where
  }

  get volumes(): string {
    return join(this.where, 'volumes')
  }

  get trash(): string {
    return join(this.where, 'trash')
  }

  get reserve(): string {
    return join(this.where, 'reserve')
  }

  volume(id: VolumeId): string {
    return join(this.volumes, id)
  }

  record(id: VolumeId): string {
    return join(this.volume(id), 'volume.json')
  }

  live(id: VolumeId): string {
    return join(this.volume(id), 'live')
  }

  liveMaking(id: VolumeId): string {
    return join(this.volume(id), 'live.making')
  }

  probeHome(id: VolumeId, name: string): string {
    return join(this.volume(id), `probe.${checkName(name)}`)
  }

  snapshots(id: VolumeId): string {
    return join(this.volume(id), 'snapshots')
  }

  snapshotHome(id: VolumeId, name: string): string {
    return join(this.snapshots(id), checkName(name))
  }

  snapshot(id: VolumeId, name: string): string {
    return join(this.snapshotHome(id, name), subvolumeName)
  }

  partials(id: VolumeId): string {
    return join(this.volume(id), 'partial')
  }

  partial(id: VolumeId, name: string): string {
    return join(this.partials(id), checkName(name))
  }

  partialProof(id: VolumeId, name: string): string {
    return join(this.partial(id, name), 'proof.json')
  }
}

/** `btrfs send` puts the subvolume's own name into the stream: one name everywhere, and nothing needs renaming. */
export const subvolumeName = 'snap'

const shape = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}$/

const checkName = (name: string): string => {
  if (shape.test(name)) return name
  throw new DroverError(
    'BAD_NAME',
    `${JSON.stringify(name.slice(0, 64))} cannot name a snapshot; use letters, digits, _ . and -`,
  )
}
