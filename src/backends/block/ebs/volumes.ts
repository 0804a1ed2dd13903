import { randomUUID } from 'node:crypto'
import { DroverError, hasCode } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import type { Attachments } from './attachments.ts'
import { isRefusal, RefusedCall } from './calls.ts'
import type { Cloud, CloudVolume } from './cloud.ts'
import type { Entry, Ledger, LedgerVolume, VolumeRequest } from './ledger.ts'
import type { Limits } from './surroundings.ts'
import { isOwn, tag } from './tags.ts'
import type { Watch } from './watch.ts'

interface Parts {
  readonly cloud: Cloud
  readonly watch: Watch<CloudVolume>
  readonly ledger: Ledger
  readonly clock: Clock
  readonly limits: Limits
  readonly cluster: () => string
  /** For messages. */
  readonly spec: string
}

const retryMs = 1_000

/** Volumes of the cloud: made with a token that is on disk before, removed only when their tags say that they are this device. */
export class Volumes {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** The entry with its volume, which can be attached. @throws NO_SPACE, BAD_SIZE, DATASET_MISSING */
  async make(entry: Entry, request: VolumeRequest): Promise<Entry> {
    const { ledger, watch, limits, clock } = this.#parts
    const asked: LedgerVolume = { token: randomUUID(), request, volumeId: null, askedAt: clock.now() }
    await ledger.write({ ...entry, volume: asked })
    const volumeId = await this.#create(asked)
    const made: Entry = { ...entry, volume: { ...asked, volumeId, askedAt: clock.now() } }
    await ledger.write(made)
    const isThere = (seen: CloudVolume | null) => seen !== null && seen.state !== 'creating'
    const seen = await watch.until(
      volumeId,
      isThere,
      limits.create,
      (last) =>
        new DroverError(
          'TIMED_OUT',
          `volume ${volumeId} (${entry.device}) is still ${last?.state ?? 'not known to EC2'}`,
        ),
    )
    if (seen?.state === 'available') return made
    throw new DroverError('NO_SPACE', `EC2 could not make volume ${volumeId} (${entry.device}): it is ${seen?.state}`)
  }

  async #create({ token, request }: LedgerVolume): Promise<string> {
    const { cloud, spec } = this.#parts
    try {
      return await cloud.createVolume(token, request)
    } catch (error) {
      if (isRefusal(error, 'VolumeLimitExceeded', 'MaxIOPSLimitExceeded', 'InsufficientVolumeCapacity')) {
        throw new DroverError(
          'NO_SPACE',
          `pool ${spec}: ${error.message}; free some, or have the account's limit raised`,
          {
            cause: error,
          },
        )
      }
      if (isRefusal(error, 'InvalidSnapshot.NotFound')) {
        throw new DroverError('DATASET_MISSING', `pool ${spec}: ${error.message}`, { cause: error })
      }
      throw error
    }
  }

  /** @throws DATASET_MISSING, DATASET_FOREIGN */
  async mustOwn(volumeId: string, device: string, timeoutMs?: number): Promise<CloudVolume> {
    const entry = await this.#parts.ledger.read(device)
    const known = { askedAt: entry?.volume?.askedAt ?? 0, epoch: entry?.epoch ?? 0 }
    const found = await this.#own(volumeId, device, known, timeoutMs)
    if (found !== null) return found
    throw new DroverError(
      'DATASET_MISSING',
      `there is no volume ${volumeId} (${device}); nothing was made in its place`,
    )
  }

  /**
   * Null: there is none. @param askedAt when it was asked for: what EC2 does not show yet may be there @param epoch that this host knows of
   * @throws DATASET_FOREIGN: it is somebody else's, whatever our notes say
   */
  async #own(
    volumeId: string,
    device: string,
    { askedAt, epoch }: { askedAt: number; epoch: number },
    timeoutMs?: number,
  ): Promise<CloudVolume | null> {
    const { cloud, clock, limits, cluster } = this.#parts
    for (let waitMs = retryMs; ; waitMs *= 2) {
      // Before it is asked: an answer may be on its way for long.
      const isTold = clock.now() - askedAt > limits.settle
      const [found] = await cloud.volumes([volumeId], timeoutMs)
      if (found !== undefined) {
        const writtenAt = Number(found.tags[tag.epoch] ?? 0)
        if (isOwn(found.tags, cluster(), device) && writtenAt > epoch) throw superseded(found, device, epoch)
        if (isOwn(found.tags, cluster(), device)) return found
        throw new DroverError(
          'DATASET_FOREIGN',
          `volume ${volumeId} does not bear the tags of ${device} in this cluster; it is left alone`,
          { details: { volumeId, tags: found.tags } },
        )
      }
      if (isTold) return null
      await clock.sleep(waitMs)
    }
  }

  /** Detached and gone; the absent is a success. @throws DATASET_FOREIGN, VOLUME_BUSY, TIMED_OUT */
  async destroy(entry: Entry, attachments: Attachments): Promise<Entry> {
    const { ledger, clock } = this.#parts
    if (entry.volume === null) return entry
    const volumeId = await this.#idOf(entry.device, entry.volume)
    if (volumeId !== null) {
      const askedAt = entry.volume.volumeId === null ? clock.now() : entry.volume.askedAt
      const known = { ...entry.volume, volumeId, askedAt }
      // So that it need not be looked for again.
      await ledger.write({ ...entry, volume: known })
      await this.#destroy(volumeId, entry, known, attachments)
    }
    const left: Entry = { ...entry, volume: null }
    await ledger.write(left)
    return left
  }

  /** Of what was asked for and not noted: asked again with the same token, which makes no second one. */
  async #idOf(device: string, volume: LedgerVolume): Promise<string | null> {
    const { cloud, cluster, clock, limits } = this.#parts
    if (volume.volumeId !== null) return volume.volumeId
    const tagged = await cloud.volumesTagged(tag.device, device)
    const ours = tagged.find((each) => isOwn(each.tags, cluster(), device))
    if (ours !== undefined) return ours.id
    // Tokens are kept for a day at least; by then describes have told long since.
    if (clock.now() - volume.askedAt > limits.settle * 10) return null
    try {
      return await cloud.createVolume(volume.token, volume.request)
    } catch (error) {
      // Refused: so it was not made before either. Of a token that was used otherwise nothing is known.
      if (error instanceof RefusedCall && error.code !== 'IdempotentParameterMismatch') return null
      throw error
    }
  }

  async #destroy(
    id: string,
    { device, epoch }: Entry,
    { askedAt }: LedgerVolume,
    attachments: Attachments,
  ): Promise<void> {
    const { cloud, clock, limits } = this.#parts
    const endsAt = clock.monotonic() + limits.detach
    const found = await this.#own(id, device, { askedAt, epoch })
    if (found === null || found.state === 'deleting' || found.state === 'deleted') return
    if (found.attachments.length > 0) await detachIfThere(id, device, attachments)
    for (;;) {
      try {
        return await cloud.deleteVolume(id)
      } catch (error) {
        if (isRefusal(error, 'InvalidVolume.NotFound')) return
        // It is attached, in the making, or being deleted: describes lag behind all three, and may be of before it was there.
        if (!isRefusal(error, 'VolumeInUse', 'IncorrectState') || clock.monotonic() > endsAt) throw error
        const now = await this.#own(id, device, { askedAt, epoch })
        if (now === null || now.state === 'deleting') return
        if (now.attachments.length > 0) await detachIfThere(id, device, attachments)
        await clock.sleep(retryMs)
      }
    }
  }

  /** @throws VOLUME_BUSY when EC2 takes no change of it now, NO_SPACE */
  async grow(volumeId: string, device: string, gib: number): Promise<void> {
    const { cloud, watch, limits, spec } = this.#parts
    const found = await this.mustOwn(volumeId, device)
    if (found.gib >= gib) return
    try {
      await cloud.grow(volumeId, gib)
    } catch (error) {
      if (isRefusal(error, 'VolumeLimitExceeded')) {
        throw new DroverError('NO_SPACE', `pool ${spec}: ${error.message}`, { cause: error })
      }
      // After a lost answer the second try is refused, as the first has been done.
      if (!isRefusal(error, 'VolumeModificationRateExceeded', 'IncorrectModificationState')) throw error
      const [now] = await cloud.volumes([volumeId])
      if ((now?.gib ?? 0) < gib && !(await this.#grows(volumeId, gib))) {
        throw new DroverError(
          'VOLUME_BUSY',
          `volume ${volumeId} (${device}) was changed less than 6 hours ago; EC2 takes the next change after that`,
          { cause: error },
        )
      }
    }
    await watch.until(
      volumeId,
      (seen) => (seen?.gib ?? 0) >= gib,
      limits.modify,
      (seen) => new DroverError('TIMED_OUT', `volume ${volumeId} (${device}) still has ${seen?.gib ?? 'unknown'} GiB`),
    )
  }

  /** A change that was taken shows within a moment. */
  async #grows(volumeId: string, gib: number): Promise<boolean> {
    const { watch, limits } = this.#parts
    const isGrown = (seen: CloudVolume | null) => (seen?.gib ?? 0) >= gib
    return watch
      .until(volumeId, isGrown, limits.settle, () => new DroverError('TIMED_OUT', 'not grown'))
      .then(
        () => true,
        () => false,
      )
  }
}

/** Describes may tell of what is attached when it has been deleted. */
const detachIfThere = async (id: string, device: string, attachments: Attachments): Promise<void> => {
  try {
    await attachments.detach(id, device)
  } catch (error) {
    if (!hasCode(error, 'DATASET_MISSING')) throw error
  }
}

/** This host's disk was put back to before the volume went to another one. */
const superseded = ({ id, tags }: CloudVolume, device: string, epoch: number): DroverError =>
  new DroverError(
    'DATASET_FOREIGN',
    `volume ${id} (${device}) was owned at epoch ${tags[tag.epoch]} since, this host knows of ${epoch}; it is left alone`,
    { details: { volumeId: id, tags } },
  )
