import { hasCode } from '../../../domain/errors.ts'
import type { SnapshotContent } from '../device.ts'
import type { Range } from '../differences.ts'
import { runsOf } from '../stream/pieces.ts'
import type { SnapshotPair } from './direct/lists.ts'
import { piecesOfSnapshot } from './direct/pieces.ts'
import { StreamTries } from './direct/stream-tries.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry } from './ledger.ts'

interface Parts
  extends Pick<EbsParts, 'clock' | 'ledger' | 'snapshots' | 'direct' | 'identity' | 'logger' | 'surroundings'> {
  /** While nothing else is done with the device. */
  locked<T>(device: string, work: () => Promise<T>): Promise<T>
  /** A snapshot of what the device holds now, noted beside its volume. @throws TIMED_OUT after so many milliseconds */
  begin(entry: Entry, withinMs: number): Promise<Entry>
}

const late = 'EC2 takes long over a snapshot to compare with'
/** Where EC2 took too long over a snapshot, or a comparison broke, it will be so again. */
const againMs = 10 * 60_000

/**
 * What differs, by the direct API: it knows snapshots, so of a device that is written one is taken for as long as it is compared. Writers may be
 * waiting for it, so that has a limit of its own, after which both are read.
 */
export class Comparisons {
  readonly #parts: Parts
  readonly #running = new Set<string>()
  readonly #tries: StreamTries
  #closedUntil = Number.NEGATIVE_INFINITY

  constructor(parts: Parts) {
    this.#parts = parts
    this.#tries = new StreamTries(parts.clock)
  }

  /** Null: it has to be read by its path. */
  async content(device: string, base: string | null): Promise<SnapshotContent | null> {
    const snapshotId = await this.#sealed(device)
    const baseSnapshotId = base === null ? null : await this.#sealed(base)
    if (snapshotId === null || (base !== null && baseSnapshotId === null)) return null
    const pair = { snapshotId, baseSnapshotId }
    if (!(await this.#parts.direct.access.reaches(pair)) || !this.#tries.another(pair)) return null
    const { region } = await this.#parts.identity()
    return { ...pair, region, endpoint: this.#parts.surroundings.direct.endpoint }
  }

  /** Null: they have to be read by their paths. */
  async changes(device: string, base: string, sizeBytes: number): Promise<AsyncIterable<Range> | null> {
    const { access } = this.#parts.direct
    const baseSnapshotId = await this.#sealed(base)
    if (baseSnapshotId === null || this.#parts.clock.monotonic() < this.#closedUntil) return null
    // No snapshot is taken in vain.
    if (!(await access.reaches({ snapshotId: baseSnapshotId, baseSnapshotId: null }))) return null
    const shown = await this.#shown(device)
    if (shown === null) return null
    const pair = { snapshotId: shown.snapshotId, baseSnapshotId }
    if (await access.reaches(pair)) return this.#differences(device, pair, sizeBytes, shown.drop)
    await shown.drop()
    return null
  }

  async *#differences(
    device: string,
    pair: SnapshotPair,
    sizeBytes: number,
    drop: () => Promise<void>,
  ): AsyncGenerator<Range, void> {
    try {
      for await (const { start, piece } of piecesOfSnapshot(this.#parts.direct.blocks, pair, sizeBytes)) {
        for (const { from, to } of runsOf(piece)) yield { start: start + from, end: start + to }
      }
    } catch (error) {
      // It may break for what the first block does not show, and would do so each time.
      this.#close(device, error, 'a comparison by the EBS direct API broke')
      throw error
    } finally {
      await drop()
    }
  }

  async #sealed(device: string): Promise<string | null> {
    const entry = await this.#parts.ledger.read(device)
    return entry === null || entry.sealMark === null ? null : (entry.snapshot?.snapshotId ?? null)
  }

  /** A whole snapshot with what the device holds; null: there can be none now. */
  async #shown(device: string): Promise<{ snapshotId: string; drop: () => Promise<void> } | null> {
    const entry = await this.#parts.ledger.read(device)
    if (entry === null || entry.passing !== undefined) return null
    const noted = entry.snapshot?.snapshotId ?? null
    if (entry.sealMark !== null || (entry.volume === null && noted !== null)) {
      return noted !== null && (await this.#inTime(noted, device)) ? { snapshotId: noted, drop: async () => {} } : null
    }
    if (entry.volume?.volumeId == null || this.#running.has(device)) return null
    this.#running.add(device)
    const drop = () => this.#drop(device)
    try {
      const snapshotId = await this.#begun(device)
      if (snapshotId === null) this.#running.delete(device)
      else if (await this.#inTime(snapshotId, device)) return { snapshotId, drop }
      else await drop()
      return null
    } catch (error) {
      await drop()
      throw error
    }
  }

  /** Null: there is none to be had, or whether there is one is not known; what there may be is left to the next comparison. */
  async #begun(device: string): Promise<string | null> {
    const { ledger, snapshots, surroundings, locked, begin } = this.#parts
    const { comparison } = surroundings.limits
    try {
      const begun = await locked(device, async () => {
        const found = await ledger.read(device)
        return found?.volume?.volumeId == null || found.passing !== undefined
          ? null
          : begin(await snapshots.destroy(found), comparison)
      })
      return begun?.snapshot?.snapshotId ?? null
    } catch (error) {
      if (!hasCode(error, 'TIMED_OUT')) throw error
      this.#close(device, error, late)
      return null
    }
  }

  async #inTime(snapshotId: string, device: string): Promise<boolean> {
    const { snapshots, surroundings } = this.#parts
    try {
      await snapshots.whole(snapshotId, device, surroundings.limits.comparison)
      return true
    } catch (error) {
      if (!hasCode(error, 'TIMED_OUT')) throw error
      this.#close(device, error, late)
      return false
    }
  }

  #close(device: string, error: unknown, why: string): void {
    const { clock, logger } = this.#parts
    this.#closedUntil = clock.monotonic() + againMs
    logger.warn({ device, err: error }, `${why}; whole volumes are read instead`)
  }

  /** What a crash left of a comparison; of one that runs nothing is touched. */
  async tidy(device: string): Promise<void> {
    await this.#destroy(device, () => !this.#running.has(device))
  }

  async #drop(device: string): Promise<void> {
    await this.#destroy(device, () => true)
    this.#running.delete(device)
  }

  /** Never fails: what is left, the next comparison removes. */
  async #destroy(device: string, isWanted: () => boolean): Promise<void> {
    const { ledger, snapshots, locked, logger } = this.#parts
    try {
      await locked(device, async () => {
        const entry = await ledger.read(device)
        const isBeside = entry !== null && entry.sealMark === null && entry.volume?.volumeId != null
        if (isBeside && entry.passing === undefined && isWanted()) await snapshots.destroy(entry)
      })
    } catch (error) {
      logger.warn(
        { device, err: error },
        'a snapshot that was taken to compare is left; the next comparison removes it',
      )
    }
  }
}
