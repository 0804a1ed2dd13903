import { DroverError, hasCode } from '../../../domain/errors.ts'
import type { EbsParts } from './ebs-parts.ts'
import { type Entry, isEntry } from './ledger.ts'

/**
 * Writers wait while a volume passes from one host to another: that a detach or an attach hangs is told sooner than otherwise. Who asked a target to
 * take it hears no answer after two minutes.
 */
const mostMs = { detach: 80_000, attach: 75_000, giveUpTaking: 25_000 }

/** Volumes on their way from one instance to another: their entries are marked, and whoever removes a marked one leaves the volume alone. */
export class Passing {
  readonly #parts: EbsParts

  constructor(parts: EbsParts) {
    this.#parts = parts
  }

  /** Marked first: from then on this host neither attaches nor deletes it. @throws VOLUME_BUSY, TIMED_OUT */
  async letGo(entry: Entry): Promise<void> {
    const { ledger, disks, attachments } = this.#parts
    const volumeId = mustBeMade(entry)
    await ledger.write({ ...entry, passing: 'leaving' })
    const disk = await disks.find(volumeId)
    if (disk !== null) await disks.flush(disk)
    await attachments.detach(volumeId, entry.device, this.#within('detach'))
  }

  /** By its note alone. @param told the entry of the host that has it @throws DATASET_FOREIGN */
  async expect(told: unknown, device: string): Promise<void> {
    const { ledger, clock } = this.#parts
    if (!isEntry(told, device) || told.sealMark !== null || told.volume?.volumeId == null) {
      throw new DroverError(
        'DATASET_FOREIGN',
        `what was told of device ${device} is not understood; run one version of Drover`,
      )
    }
    await ledger.write({ ...told, volume: { ...told.volume, askedAt: clock.now() }, passing: 'arriving' })
  }

  /** Attached here, and whole. What fails leaves it attached nowhere, as far as that can be. */
  async take(entry: Entry): Promise<void> {
    const { attachments, logger } = this.#parts
    const volumeId = mustBeMade(entry)
    try {
      const disk = await attachments.attach(volumeId, entry.device, this.#within('attach'))
      if (disk.sizeBytes < entry.sizeBytes) {
        throw new DroverError(
          'DATASET_FOREIGN',
          `volume ${volumeId} (${entry.device}) has ${disk.sizeBytes} bytes, ${entry.sizeBytes} were told; it is left alone`,
        )
      }
    } catch (error) {
      await this.giveUp(entry, mostMs.giveUpTaking).catch((left: unknown) => {
        logger.warn({ device: entry.device, err: left }, 'a volume that was not taken may still be attached here')
      })
      throw answered(error)
    }
  }

  /** Not attached here any more. */
  async giveUp(entry: Entry, timeoutMs: number = mostMs.detach): Promise<void> {
    const { attachments, disks, volumes, identity } = this.#parts
    const volumeId = entry.volume?.volumeId ?? null
    if (volumeId === null || entry.passing !== 'arriving') return
    try {
      const [known] = (await volumes.mustOwn(volumeId, entry.device)).attachments
      const isElsewhere = known !== undefined && known.instanceId !== (await identity()).instanceId
      if (isElsewhere && (await disks.find(volumeId)) === null) return
      await attachments.detach(volumeId, entry.device, Math.min(this.#within('detach'), timeoutMs))
    } catch (error) {
      // There is none that could be attached here.
      if (!hasCode(error, 'DATASET_MISSING', 'DATASET_FOREIGN')) throw error
    }
  }

  /** It is this host's own (again). */
  async keep({ passing, ...entry }: Entry): Promise<void> {
    if (passing !== undefined) await this.#parts.ledger.write(entry)
  }

  #within(what: 'attach' | 'detach'): number {
    return Math.min(this.#parts.surroundings.limits[what], mostMs[what])
  }
}

const mustBeMade = ({ device, volume }: Entry): string => {
  if (volume?.volumeId != null) return volume.volumeId
  throw new DroverError('DATASET_MISSING', `device ${device} has no volume of its own; nothing was made in its place`)
}

/** TIMED_OUT is what a host that does not answer says, and decides nothing: this one answers that it does not take the volume. */
const answered = (error: unknown): unknown =>
  error instanceof DroverError && error.code === 'TIMED_OUT'
    ? new DroverError('VOLUME_BUSY', error.message, { details: error.details, cause: error })
    : error
