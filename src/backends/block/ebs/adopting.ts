import { DroverError } from '../../../domain/errors.ts'
import { isRefusal } from './calls.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry } from './ledger.ts'
import type { Making } from './making.ts'
import type { ToldSnapshot } from './told-snapshot.ts'

/** So long one try waits for a copy. */
const patienceMs = 5_000

/** Sealed devices by snapshots that another host has told of: within a region by those themselves, which stay the other's; from another by copies, which are this host's. */
export class Adopting {
  readonly #parts: EbsParts
  readonly #making: Making

  constructor(parts: EbsParts, making: Making) {
    this.#parts = parts
    this.#making = making
  }

  /** @throws STREAM_FAILED when EC2 says otherwise; TIMED_OUT with `pending`: it is being copied, to be asked again */
  async adopt(device: string, told: ToldSnapshot, mark: number): Promise<void> {
    const { ledger, snapshots, identity, pool, clock, surroundings } = this.#parts
    const entry = await ledger.read(device)
    if (entry !== null && entry.sealMark !== null) return
    if (told.region === (await identity()).region) {
      const snapshot = await this.#proved(device, told)
      await ledger.write({ ...(await this.#making.entry(device, told.sizeBytes)), snapshot, sealMark: mark })
      return
    }
    const begun = entry ?? (await this.#begin(device, told))
    const copied = await snapshots
      .copy(begun, told, pool.kmsKeyId, this.#making.tags(begun))
      .catch((error: unknown) => {
        // EC2 makes so many copies at once.
        throw isRefusal(error, 'ResourceLimitExceeded') ? pending(told, 'a new one') : error
      })
    const snapshotId = copied.snapshot?.snapshotId ?? ''
    if (!(await snapshots.isWhole(snapshotId, device, patienceMs))) {
      const isLate = clock.now() - (copied.snapshot?.askedAt ?? 0) > surroundings.limits.snapshot
      throw isLate
        ? new DroverError('TIMED_OUT', `EC2 has not made ${snapshotId} of ${told.snapshotId}`)
        : pending(told, snapshotId)
    }
    await ledger.write({ ...copied, sealMark: mark })
  }

  async #begin(device: string, told: ToldSnapshot): Promise<Entry> {
    await this.#proved(device, told)
    const entry = await this.#making.entry(device, told.sizeBytes)
    await this.#parts.ledger.write(entry)
    return entry
  }

  /** Nothing that was told is believed: EC2 has to say the same, in the region where the snapshot is. */
  async #proved(device: string, told: ToldSnapshot): Promise<NonNullable<Entry['snapshot']>> {
    const { snapshots, snapshotsIn, identity, clock, surroundings } = this.#parts
    const there = told.region === (await identity()).region ? snapshots : snapshotsIn(told.region)
    const snapshot = { snapshotId: told.snapshotId, madeAs: told.device, askedAt: clock.now() }
    const found = await there.find(snapshot, device)
    if (found !== null && found.gib * surroundings.unitBytes === told.sizeBytes) return snapshot
    throw new DroverError(
      'STREAM_FAILED',
      `snapshot ${told.snapshotId} is not what was told of it: EC2 says ${JSON.stringify(found)}; move it again`,
    )
  }
}

const pending = ({ snapshotId, region }: ToldSnapshot, copy: string): DroverError =>
  new DroverError('TIMED_OUT', `EC2 is still copying snapshot ${snapshotId} of region ${region} to ${copy}`, {
    details: { pending: true },
  })
