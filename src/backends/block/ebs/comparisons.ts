import type { SnapshotContent } from '../device.ts'
import type { Range } from '../differences.ts'
import { runsOf } from '../stream/pieces.ts'
import type { SnapshotPair } from './direct/lists.ts'
import { piecesOfSnapshot } from './direct/pieces.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry } from './ledger.ts'

interface Parts extends Pick<EbsParts, 'ledger' | 'snapshots' | 'direct' | 'identity' | 'logger' | 'surroundings'> {
  /** While nothing else is done with the device. */
  locked<T>(device: string, work: () => Promise<T>): Promise<T>
  /** A snapshot of what the device holds now, noted beside its volume. */
  begin(entry: Entry): Promise<Entry>
}

/** What differs, by the direct API: it knows snapshots, so of a device that is written one is taken for as long as it is compared. */
export class Comparisons {
  readonly #parts: Parts
  readonly #running = new Set<string>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Null: it has to be read by its path. */
  async content(device: string, base: string | null): Promise<SnapshotContent | null> {
    const snapshotId = await this.#sealed(device)
    const baseSnapshotId = base === null ? null : await this.#sealed(base)
    if (snapshotId === null || (base !== null && baseSnapshotId === null)) return null
    const pair = { snapshotId, baseSnapshotId }
    if (!(await this.#parts.direct.access.reaches(pair))) return null
    const { region } = await this.#parts.identity()
    return { ...pair, region, endpoint: this.#parts.surroundings.direct.endpoint }
  }

  /** Null: they have to be read by their paths. */
  async changes(device: string, base: string, sizeBytes: number): Promise<AsyncIterable<Range> | null> {
    const { access } = this.#parts.direct
    const baseSnapshotId = await this.#sealed(base)
    // No snapshot is taken in vain.
    if (baseSnapshotId === null || !(await access.reaches({ snapshotId: baseSnapshotId, baseSnapshotId: null }))) {
      return null
    }
    const shown = await this.#shown(device)
    if (shown === null) return null
    const pair = { snapshotId: shown.snapshotId, baseSnapshotId }
    if (await access.reaches(pair)) return this.#differences(pair, sizeBytes, shown.drop)
    await shown.drop()
    return null
  }

  async *#differences(pair: SnapshotPair, sizeBytes: number, drop: () => Promise<void>): AsyncGenerator<Range, void> {
    try {
      for await (const { start, piece } of piecesOfSnapshot(this.#parts.direct.blocks, pair, sizeBytes)) {
        for (const { from, to } of runsOf(piece)) yield { start: start + from, end: start + to }
      }
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
    const { ledger, snapshots, locked, begin } = this.#parts
    const entry = await ledger.read(device)
    if (entry === null || entry.passing !== undefined) return null
    const noted = entry.snapshot?.snapshotId ?? null
    if (entry.sealMark !== null || (entry.volume === null && noted !== null)) {
      if (noted === null) return null
      await snapshots.whole(noted, device)
      return { snapshotId: noted, drop: async () => {} }
    }
    if (entry.volume?.volumeId == null || this.#running.has(device)) return null
    this.#running.add(device)
    try {
      const begun = await locked(device, async () => {
        const found = await ledger.read(device)
        return found?.volume?.volumeId == null || found.passing !== undefined
          ? null
          : begin(await snapshots.destroy(found))
      })
      const snapshotId = begun?.snapshot?.snapshotId ?? null
      if (snapshotId === null) {
        this.#running.delete(device)
        return null
      }
      await snapshots.whole(snapshotId, device)
      return { snapshotId, drop: () => this.#drop(device) }
    } catch (error) {
      await this.#drop(device)
      throw error
    }
  }

  /** What is left of a comparison, also of one that a crash ended. */
  async tidy(device: string): Promise<void> {
    if (!this.#running.has(device)) await this.#drop(device)
  }

  async #drop(device: string): Promise<void> {
    const { ledger, snapshots, locked, logger } = this.#parts
    try {
      await locked(device, async () => {
        const entry = await ledger.read(device)
        const isBeside = entry !== null && entry.sealMark === null && entry.volume?.volumeId != null
        if (isBeside && entry.passing === undefined) await snapshots.destroy(entry)
      })
    } catch (error) {
      logger.warn(
        { device, err: error },
        'a snapshot that was taken to compare is left; the next comparison removes it',
      )
    } finally {
      this.#running.delete(device)
    }
  }
}
