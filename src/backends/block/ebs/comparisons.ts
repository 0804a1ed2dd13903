import { DroverError, hasCode } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { within } from '../../../lib/deadline.ts'
import type { SnapshotContent, Writers } from '../device.ts'
import type { Range } from '../differences.ts'
import { runsOf } from '../stream/pieces.ts'
import type { ComparedSnapshots } from './compared-snapshots.ts'
import type { SnapshotPair } from './direct/lists.ts'
import { piecesOfSnapshot } from './direct/pieces.ts'
import { StreamTries } from './direct/stream-tries.ts'
import type { EbsParts } from './ebs-parts.ts'

interface Parts
  extends Pick<EbsParts, 'clock' | 'ledger' | 'snapshots' | 'direct' | 'identity' | 'logger' | 'surroundings'> {
  readonly taken: ComparedSnapshots
}

const late = 'EC2 takes long over a snapshot to compare with'
/** Where EC2 took too long over a snapshot, or a comparison broke, it will be so again. */
const againMs = 10 * 60_000

/**
 * What differs, by the direct API: it knows snapshots, so of a device that is written one is taken for as long as it is compared. EC2 has so long for
 * that one, and then for whatever comes next, as it may take while writers run, or stand; after that both are read.
 */
export class Comparisons {
  readonly #parts: Parts
  readonly #taken: ComparedSnapshots
  readonly #tries: StreamTries
  #closedUntil = Number.NEGATIVE_INFINITY

  constructor(parts: Parts) {
    this.#parts = parts
    this.#taken = parts.taken
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
  async changes(
    device: string,
    base: string,
    sizeBytes: number,
    writers: Writers,
  ): Promise<AsyncIterable<Range> | null> {
    const { direct, clock, surroundings } = this.#parts
    const limitMs = surroundings.limits.comparison[writers]
    const baseSnapshotId = await this.#sealed(base)
    if (baseSnapshotId === null || clock.monotonic() < this.#closedUntil) return null
    // No snapshot is taken in vain.
    if (!(await direct.access.reaches({ snapshotId: baseSnapshotId, baseSnapshotId: null }))) return null
    const shown = await this.#shown(device, limitMs)
    if (shown === null) return null
    const pair = { snapshotId: shown.snapshotId, baseSnapshotId }
    if (await direct.access.reaches(pair))
      return this.#differences(device, pair, sizeBytes, { limitMs, drop: shown.drop })
    shown.drop()
    return null
  }

  async *#differences(
    device: string,
    pair: SnapshotPair,
    sizeBytes: number,
    { limitMs, drop }: { limitMs: number; drop: () => void },
  ): AsyncGenerator<Range, void> {
    const { direct, clock } = this.#parts
    try {
      const pieces = piecesOfSnapshot(direct.blocks, pair, sizeBytes)
      for await (const { start, piece } of eachWithin(clock, limitMs, pieces)) {
        for (const { from, to } of runsOf(piece)) yield { start: start + from, end: start + to }
      }
    } catch (error) {
      // It may break for what the first block does not show, and would do so each time.
      this.#close(device, error, 'a comparison by the EBS direct API broke')
      throw error
    } finally {
      drop()
    }
  }

  async #sealed(device: string): Promise<string | null> {
    const entry = await this.#parts.ledger.read(device)
    return entry === null || entry.sealMark === null ? null : (entry.snapshot?.snapshotId ?? null)
  }

  /** A whole snapshot with what the device holds; null: there can be none now. */
  async #shown(device: string, limitMs: number): Promise<{ snapshotId: string; drop: () => void } | null> {
    const entry = await this.#parts.ledger.read(device)
    if (entry === null || entry.passing !== undefined) return null
    const noted = entry.snapshot?.snapshotId ?? null
    if (entry.sealMark !== null || (entry.volume === null && noted !== null)) {
      return noted === null ? null : this.#whole(device, noted, limitMs, () => {})
    }
    const endsAt = this.#parts.clock.monotonic() + limitMs
    try {
      const snapshotId = await this.#taken.take(device, limitMs)
      if (snapshotId === null) return null
      const leftMs = endsAt - this.#parts.clock.monotonic()
      return await this.#whole(device, snapshotId, leftMs, () => this.#taken.drop(device))
    } catch (error) {
      if (!hasCode(error, 'TIMED_OUT')) throw error
      this.#close(device, error, late)
      return null
    }
  }

  /** Null, and dropped: not in time. */
  async #whole(device: string, snapshotId: string, limitMs: number, drop: () => void) {
    const { snapshots, clock } = this.#parts
    const tooLate = () => new DroverError('TIMED_OUT', `snapshot ${snapshotId} (${device}) is not whole in time`)
    try {
      await within(clock, limitMs, snapshots.whole(snapshotId, device, limitMs), tooLate)
      return { snapshotId, drop }
    } catch (error) {
      drop()
      if (!hasCode(error, 'TIMED_OUT')) throw error
      this.#close(device, error, late)
      return null
    }
  }

  #close(device: string, error: unknown, why: string): void {
    const { clock, logger } = this.#parts
    this.#closedUntil = clock.monotonic() + againMs
    logger.warn({ device, err: error }, `${why}; whole volumes are read instead`)
  }

  /** What a crash left of a comparison; of one that runs nothing is touched. Nothing waits for it. */
  tidy(device: string): Promise<void> {
    return this.#taken.remove(device)
  }
}

/** Each within the time. @throws TIMED_OUT; what was still awaited ends by itself */
async function* eachWithin<T>(clock: Clock, ms: number, items: AsyncGenerator<T, void>): AsyncGenerator<T, void> {
  const tooLate = () => new DroverError('TIMED_OUT', `a comparison did not get on for ${Math.round(ms / 1000)} s`)
  try {
    for (;;) {
      const step = await within(clock, ms, items.next(), tooLate)
      if (step.done === true) return
      yield step.value
    }
  } finally {
    void items.return().catch(() => {})
  }
}
