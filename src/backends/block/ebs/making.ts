import { DroverError } from '../../../domain/errors.ts'
import { type VolumeId, volumeId } from '../../../domain/ids.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry, VolumeRequest } from './ledger.ts'
import { type Tags, tagsOf } from './tags.ts'

/** What is asked of EC2 for a device of this pool. */
export class Making {
  readonly #parts: EbsParts
  readonly #epochOf: (id: VolumeId) => Promise<number>

  /** @param epochOf by the record on this pool; 0: there is none */
  constructor(parts: EbsParts, epochOf: (id: VolumeId) => Promise<number>) {
    this.#parts = parts
    this.#epochOf = epochOf
  }

  /** Noted nowhere yet. */
  async entry(device: string, sizeBytes: number): Promise<Entry> {
    const epoch = await this.#epochOf(volumeId(device.slice(0, device.indexOf('.'))))
    return { device, sizeBytes, volume: null, snapshot: null, sealMark: null, epoch }
  }

  /** @throws BAD_SIZE */
  checkSize({ sizeBytes }: Pick<Entry, 'sizeBytes'>): void {
    const { pool, surroundings } = this.#parts
    if (sizeBytes / surroundings.unitBytes <= pool.profile.largestGib) return
    throw new DroverError('BAD_SIZE', `pool ${pool.spec}: a volume has at most ${pool.profile.largestGib} GiB`)
  }

  /** The entry with a volume of its size, blank or with what the snapshot has. @throws BAD_SIZE, NO_SPACE */
  async volume(entry: Entry, snapshotId: string | null): Promise<Entry> {
    const { pool, volumes, identity, surroundings } = this.#parts
    this.checkSize(entry)
    const gib = entry.sizeBytes / surroundings.unitBytes
    const request: VolumeRequest = {
      ...{ zone: (await identity()).zone, gib, snapshotId, kmsKeyId: pool.kmsKeyId },
      ...{ tags: this.tags(entry), ...pool.profile.performance(gib) },
    }
    return volumes.make(entry, request)
  }

  tags({ device, epoch }: Entry): Tags {
    return tagsOf(this.#parts.surroundings.cluster(), device, epoch)
  }
}
