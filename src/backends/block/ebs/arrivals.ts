import { randomUUID } from 'node:crypto'
import { DroverError } from '../../../domain/errors.ts'
import type { SnapshotDraft } from '../device.ts'
import { RefusedCall } from './calls.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry } from './ledger.ts'
import type { Making } from './making.ts'
import { tag } from './tags.ts'

/** After which it is tried again. */
const againMs = 10 * 60_000

/**
 * Streams of blocks that become a snapshot by the direct API, without a volume and an attachment. Where that cannot be they are written to a volume, as
 * trees are, which want a file system.
 */
export class Arrivals {
  readonly #parts: EbsParts
  readonly #making: Making
  #closedUntil = Number.NEGATIVE_INFINITY

  constructor(parts: EbsParts, making: Making) {
    this.#parts = parts
    this.#making = making
  }

  /** @param source what the stream goes upon; null: it is whole @returns false: the device has to be made otherwise */
  async note(device: string, source: Entry | null): Promise<boolean> {
    const { ledger } = this.#parts
    const snapshotId = source?.snapshot?.snapshotId ?? null
    if (!this.#isOpen || (source !== null && (source.sealMark === null || snapshotId === null))) return false
    if ((await ledger.read(device)) !== null) throw new Error(`device ${device} exists; nothing is made in its place`)
    const arrivesUpon = source === null || snapshotId === null ? null : { snapshotId, sizeBytes: source.sizeBytes }
    await ledger.write({ ...(await this.#making.entry(device, 0)), arrivesUpon })
    return true
  }

  /** Of keys the direct API knows no other names. */
  get #isOpen(): boolean {
    const { pool, clock } = this.#parts
    const isKeyFit = pool.kmsKeyId === null || pool.kmsKeyId.startsWith('arn:')
    return pool.isDirect && isKeyFit && clock.monotonic() >= this.#closedUntil
  }

  /**
   * A snapshot that is being written. Null: a volume has to be made; what may have been started stays noted, and goes when that volume is sealed or
   * removed. @throws BAD_SIZE
   */
  async start(noted: Entry, sizeBytes: number): Promise<SnapshotDraft | null> {
    const { ledger, clock, direct, surroundings, pool, identity, snapshots } = this.#parts
    const { device, arrivesUpon } = noted
    if (arrivesUpon === undefined || noted.sizeBytes > 0 || !this.#isOpen) return null
    if (arrivesUpon !== null && arrivesUpon.sizeBytes > sizeBytes) {
      throw new DroverError('BAD_SIZE', `ebs device ${device}: a volume of EBS does not become smaller`)
    }
    const entry = { ...noted, sizeBytes }
    this.#making.checkSize(entry)
    const parentSnapshotId = arrivesUpon?.snapshotId ?? null
    // Blocks that the stream names in part are read of the parent.
    if (parentSnapshotId !== null) {
      const isRead = await direct.access.reaches({ snapshotId: parentSnapshotId, baseSnapshotId: null })
      if (!isRead) return null
    }
    const request = randomUUID()
    await ledger.write({ ...noted, snapshot: { snapshotId: null, askedAt: clock.now(), request } })
    try {
      const snapshotId = await direct.writes.start({
        ...{ token: request, gib: sizeBytes / surroundings.unitBytes, parentSnapshotId, kmsKeyArn: pool.kmsKeyId },
        tags: { ...this.#making.tags(entry), [tag.request]: request },
      })
      await ledger.write({ ...entry, snapshot: { snapshotId, askedAt: clock.now(), request } })
      const { endpoint } = surroundings.direct
      return { region: (await identity()).region, endpoint, snapshotId, parent: arrivesUpon }
    } catch (error) {
      this.#close(device, error)
      // Refused, nothing was started.
      if (error instanceof RefusedCall || error instanceof DroverError) await ledger.write(noted)
      else snapshots.onItsWay(request)
      return null
    }
  }

  /** As it was noted: what an earlier try has started or made goes. */
  async takeBack(entry: Entry): Promise<void> {
    const { ledger, volumes, snapshots, attachments } = this.#parts
    if (entry.arrivesUpon === undefined || entry.sealMark !== null) {
      throw new Error(`device ${entry.device} is not one that is arriving`)
    }
    const left = await snapshots.destroy(await volumes.destroy(entry, attachments))
    if (left.sizeBytes > 0) await ledger.write({ ...left, sizeBytes: 0 })
  }

  /** What was being written is not wanted any more: it may have broken for what a start does not show. */
  gaveUp({ device, arrivesUpon, snapshot, volume, sealMark }: Entry): void {
    if (arrivesUpon === undefined || snapshot === null || volume !== null || sealMark !== null) return
    this.#close(device, null)
  }

  #close(device: string, error: unknown): void {
    const { clock, logger } = this.#parts
    if (clock.monotonic() >= this.#closedUntil) {
      logger.warn({ device, err: error }, 'streams are not received by the EBS direct API for now, but on volumes')
    }
    this.#closedUntil = clock.monotonic() + againMs
  }
}
