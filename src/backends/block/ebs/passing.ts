import { DroverError, hasCode } from '../../../domain/errors.ts'
import { StuckDetach } from './attachments.ts'
import { isRefusal } from './calls.ts'
import type { EbsParts } from './ebs-parts.ts'
import { type Entry, isEntry } from './ledger.ts'

/**
 * Writers wait while a volume passes from one host to another: that a detach or an attach hangs is told sooner than otherwise. Who asked a target to
 * take it hears no answer after two minutes.
 */
const mostMs = { detach: 80_000, attach: 70_000, giveUpTaking: 20_000, force: 60_000 }
const [lookMs, longestLookMs] = [1_000, 10_000]

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

  /** @param to the instance that it is for @returns what the host there has to know */
  async offer(entry: Entry, to: string | null): Promise<Entry> {
    const { handedTo: _, ...told } = entry
    await this.#parts.ledger.write(to === null ? told : { ...told, handedTo: to })
    return told
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
    const { attachments, ledger, clock, logger } = this.#parts
    const volumeId = mustBeMade(entry)
    const taken: Entry = { ...notTaken(entry), takenAt: clock.now() }
    try {
      // What is being detached would vanish under its writers.
      if (entry.isGivenUp === true) await this.#leave(entry)
    } catch (error) {
      throw answered(error)
    }
    await ledger.write(taken)
    try {
      const disk = await attachments.attach(volumeId, entry.device, this.#within('attach'))
      if (disk.sizeBytes < entry.sizeBytes) {
        throw new DroverError(
          'DATASET_FOREIGN',
          `volume ${volumeId} (${entry.device}) has ${disk.sizeBytes} bytes, ${entry.sizeBytes} were told; it is left alone`,
        )
      }
    } catch (error) {
      // Of what EC2 has refused for want of room nothing is on its way.
      const asked = hasCode(error, 'NO_SPACE') ? { ...taken, takenAt: 0 } : taken
      await this.#leave(asked).catch((left: unknown) => {
        logger.warn({ device: entry.device, err: left }, 'a volume that was not taken may still be attached here')
      })
      throw answered(error)
    }
  }

  /** It may be taken again. */
  async #leave(taken: Entry): Promise<void> {
    await this.#parts.ledger.write({ ...taken, isGivenUp: true })
    await this.giveUp(taken, mostMs.giveUpTaking)
    await this.#parts.ledger.write(notTaken(taken))
  }

  /** Not attached here any more, nor later by what was asked for. */
  async giveUp(entry: Entry, timeoutMs: number = mostMs.detach): Promise<void> {
    const { disks } = this.#parts
    const volumeId = entry.volume?.volumeId ?? null
    if (volumeId === null || entry.passing !== 'arriving') return
    // Nobody but `take` asks for it.
    if (entry.takenAt === undefined && (await disks.find(volumeId)) === null) return
    try {
      await this.#withdraw(volumeId, entry, Math.min(this.#within('detach'), timeoutMs))
    } catch (error) {
      // There is none that could be attached here.
      if (!hasCode(error, 'DATASET_MISSING', 'DATASET_FOREIGN')) throw error
    }
  }

  /**
   * What the kernel shows is detached. Where it shows nothing an attach may be under way all the same, and describes lag behind it: EC2 is told to
   * detach it until they are of later than that, for the request itself may have been on its way when its process died.
   */
  async #withdraw(volumeId: string, { device, takenAt = 0 }: Entry, timeoutMs: number): Promise<void> {
    const { attachments, cloud, clock, disks, identity, surroundings, volumes } = this.#parts
    const { instanceId: here } = await identity()
    const { settle } = surroundings.limits
    const startedAt = clock.monotonic()
    const knownAt = startedAt + Math.min(Math.max(takenAt + settle - clock.now(), 0), settle)
    let isTold = false
    for (let waitMs = lookMs; ; waitMs = Math.min(waitMs * 2, longestLookMs)) {
      if ((await disks.find(volumeId)) !== null) return attachments.detach(volumeId, device, timeoutMs)
      // Before it is asked: an answer may be on its way for long.
      const isTellable = clock.monotonic() > knownAt
      const [known] = (await volumes.mustOwn(volumeId, device, timeoutMs)).attachments
      if (isTold && isTellable && known?.instanceId !== here) return
      if (known?.instanceId === here) await attachments.mayBeDetached(volumeId, device, known)
      if (clock.monotonic() > startedAt + timeoutMs) {
        throw new DroverError(
          'TIMED_OUT',
          `volume ${volumeId} (${device}) may still become attached to instance ${here}`,
        )
      }
      await cloud.detach(volumeId, here, timeoutMs).catch((error: unknown) => {
        // It is not attached here, or not yet.
        if (!isRefusal(error, 'IncorrectState', 'InvalidVolume.NotFound', 'InvalidAttachment.NotFound')) throw error
      })
      isTold = true
      await clock.sleep(waitMs)
    }
  }

  /** It is this host's own (again). */
  async keep(entry: Entry): Promise<void> {
    const { passing, ...own } = notTaken(entry)
    if (passing !== undefined) await this.#parts.ledger.write(own)
  }

  /**
   * An operator has said that the host to which it was handed is gone for good. EC2 is told to detach it there as ever; only where it says by the deadline that
   * the instance still has it, by force.
   */
  async reclaim(entry: Entry): Promise<void> {
    const { attachments, ledger, logger } = this.#parts
    const { handedTo: gone, ...own } = entry
    const { device } = entry
    if (gone === undefined || entry.passing !== undefined) return
    const volumeId = mustBeMade(entry)
    try {
      await attachments.evict(volumeId, device, gone, { timeoutMs: this.#within('detach'), force: false })
    } catch (error) {
      if (!(error instanceof StuckDetach)) throw error
      logger.warn(
        { device, volumeId, instanceId: gone },
        'a volume is detached by force from an instance that an operator says is gone for good',
      )
      await attachments.evict(volumeId, device, gone, { timeoutMs: mostMs.force, force: true })
    }
    await attachments.attach(volumeId, device, this.#within('attach'))
    await ledger.write(own)
  }

  #within(what: 'attach' | 'detach'): number {
    return Math.min(this.#parts.surroundings.limits[what], mostMs[what])
  }
}

const mustBeMade = ({ device, volume }: Entry): string => {
  if (volume?.volumeId != null) return volume.volumeId
  throw new DroverError('DATASET_MISSING', `device ${device} has no volume of its own; nothing was made in its place`)
}

const notTaken = ({ takenAt: _, isGivenUp: _isGivenUp, ...entry }: Entry): Entry => entry

/** TIMED_OUT is what a host that does not answer says, and decides nothing: this one answers that it does not take the volume. */
const answered = (error: unknown): unknown =>
  error instanceof DroverError && error.code === 'TIMED_OUT'
    ? new DroverError('VOLUME_BUSY', error.message, { details: error.details, cause: error })
    : error
