import { randomUUID } from 'node:crypto'
import { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { isRefusal, UnansweredCall } from './calls.ts'
import type { Cloud, CloudSnapshot, SnapshotPlace } from './cloud.ts'
import type { Entry, Ledger, LedgerSnapshot } from './ledger.ts'
import type { Limits } from './surroundings.ts'
import { isOwn, type Tags, tag } from './tags.ts'
import type { Watch } from './watch.ts'

interface Parts {
  readonly cloud: Cloud
  readonly watch: Watch<CloudSnapshot>
  readonly ledger: Ledger
  readonly clock: Clock
  readonly limits: Limits
  readonly cluster: () => string
}

const retryMs = 1_000
const tries = 4

/**
 * Snapshots of the cloud, one for a device at most. EC2 has no client tokens for them: after an answer that was lost it is looked for by its tags for as
 * long as describes may lag behind, before another is asked for; and a removal takes all that bear the device's tags.
 */
export class CloudSnapshots {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /**
   * Holds what the volume has at this moment; it is not whole yet. @param withinMs absent: as long as it takes; else a lost answer is not waited for
   * @throws TIMED_OUT: whether there is one is not known
   */
  async begin(entry: Entry, volumeId: string, tags: Tags, withinMs?: number): Promise<Entry> {
    const { ledger, clock } = this.#parts
    const request = randomUUID()
    await ledger.write({ ...entry, snapshot: { snapshotId: null, askedAt: clock.now(), request } })
    const create = (all: Tags) => this.#parts.cloud.createSnapshot(volumeId, all, withinMs)
    const asked = { ...tags, [tag.request]: request }
    return this.#noted(entry, request, await this.#once(entry.device, `volume ${volumeId}`, asked, create, withinMs))
  }

  /** What another region has, in this one; it is not whole yet. Asked again after a crash it looks whether that has been done. */
  async copy(entry: Entry, from: SnapshotPlace, kmsKeyId: string | null, tags: Tags): Promise<Entry> {
    const { ledger, clock, cloud } = this.#parts
    if (entry.snapshot?.snapshotId != null) return entry
    const request = entry.snapshot?.request ?? randomUUID()
    const asked = { ...tags, [tag.request]: request }
    await ledger.write({ ...entry, snapshot: { snapshotId: null, askedAt: clock.now(), request } })
    const known = entry.snapshot === null ? null : await this.#awaitTagged(entry.device, asked)
    if (known !== null) return this.#noted(entry, request, known)
    const copy = (all: Tags) => cloud.copySnapshot(from, kmsKeyId, all)
    return this.#noted(entry, request, await this.#once(entry.device, `snapshot ${from.snapshotId}`, asked, copy))
  }

  async #noted(entry: Entry, request: string, snapshotId: string): Promise<Entry> {
    const { ledger, clock } = this.#parts
    const begun: Entry = { ...entry, snapshot: { snapshotId, askedAt: clock.now(), request } }
    await ledger.write(begun)
    return begun
  }

  async #once(
    device: string,
    what: string,
    tags: Tags,
    ask: (tags: Tags) => Promise<string>,
    withinMs?: number,
  ): Promise<string> {
    for (let left = tries; ; left -= 1) {
      try {
        return await ask(tags)
      } catch (error) {
        if (!(error instanceof UnansweredCall)) throw error
        const found = withinMs === undefined ? await this.#awaitTagged(device, tags) : null
        if (found !== null) return found
        if (left === 1 || withinMs !== undefined) {
          throw new DroverError('TIMED_OUT', `${what}: ${error.message}`, { cause: error })
        }
      }
    }
  }

  /** What this very request has made. */
  async #awaitTagged(device: string, asked: Tags): Promise<string | null> {
    const { clock, limits } = this.#parts
    const endsAt = clock.monotonic() + limits.settle
    for (let waitMs = retryMs; ; waitMs *= 2) {
      // Before it is asked: an answer may be on its way for long.
      const isTold = clock.monotonic() > endsAt
      const found = (await this.#tagged(device)).find(({ tags }) => tags[tag.request] === asked[tag.request])
      if (found !== undefined) return found.id
      if (isTold) return null
      await clock.sleep(waitMs)
    }
  }

  async #tagged(device: string): Promise<CloudSnapshot[]> {
    const { cloud, cluster } = this.#parts
    const found = await cloud.snapshotsTagged(tag.device, device)
    return found.filter(({ tags }) => isOwn(tags, cluster(), device))
  }

  /** False: not yet, after so long. @throws COMMAND_FAILED when AWS could not make it */
  async isWhole(snapshotId: string, device: string, patienceMs: number): Promise<boolean> {
    const late = new DroverError('TIMED_OUT', `snapshot ${snapshotId} (${device}) is not whole yet`)
    const isOver = (seen: CloudSnapshot | null) => seen !== null && seen.state !== 'pending'
    try {
      const seen = await this.#parts.watch.until(snapshotId, isOver, patienceMs, () => late)
      // It says what is wrong with it.
      if (seen?.state !== 'completed') await this.whole(snapshotId, device)
      return true
    } catch (error) {
      if (error === late) return false
      throw error
    }
  }

  /** @throws COMMAND_FAILED when AWS could not make it, TIMED_OUT; the signal's reason */
  async whole(
    snapshotId: string,
    device: string,
    timeoutMs = this.#parts.limits.snapshot,
    signal?: AbortSignal,
  ): Promise<void> {
    const { watch } = this.#parts
    // One that is given up may be gone, and would be asked for until the time is over.
    const isOver = (seen: CloudSnapshot | null) =>
      signal?.aborted === true || (seen !== null && seen.state !== 'pending')
    const seen = await watch.until(
      snapshotId,
      isOver,
      timeoutMs,
      (last) =>
        new DroverError(
          'TIMED_OUT',
          `snapshot ${snapshotId} (${device}) is still ${last?.state ?? 'not known to EC2'}`,
        ),
    )
    if (seen?.state === 'completed') return
    signal?.throwIfAborted()
    throw new DroverError(
      'COMMAND_FAILED',
      `EC2 could not make snapshot ${snapshotId} (${device}): it is ${seen?.state}`,
    )
  }

  /**
   * It is there, whole, and this device's. No call of EC2's changes what a snapshot holds. Of one that was whole before: an answer that says
   * otherwise may be older than that, so it is asked again for as long as describes lag behind.
   */
  async isThere(snapshot: LedgerSnapshot, device: string): Promise<boolean> {
    return (await this.find(snapshot, device)) !== null
  }

  /** Null: `isThere` says no. */
  async find({ snapshotId, askedAt, madeAs }: LedgerSnapshot, device: string): Promise<CloudSnapshot | null> {
    if (snapshotId === null) return null
    const { cloud, cluster, clock, limits } = this.#parts
    const endsAt = clock.monotonic() + limits.settle
    for (let waitMs = retryMs; ; waitMs *= 2) {
      const [now, isLast] = [clock.now(), clock.monotonic() > endsAt]
      const [found] = await cloud.snapshots([snapshotId])
      if (found !== undefined && !isOwn(found.tags, cluster(), madeAs ?? device)) return null
      if (found?.state === 'completed') return found
      const mayBeOld = found === undefined ? now - askedAt < limits.settle : found.state === 'pending'
      if (!mayBeOld || isLast) return null
      await clock.sleep(waitMs)
    }
  }

  /** The absent is a success. */
  async destroy(entry: Entry): Promise<Entry> {
    const { cloud, clock, limits } = this.#parts
    const { device, snapshot } = entry
    if (snapshot === null) return entry
    if (snapshot.madeAs !== undefined) return this.#forget(entry)
    const found: CloudSnapshot[] = []
    // Not shown yet, maybe; without an answer it may have been made later than it was asked for.
    const settleMs = snapshot.snapshotId === null ? 2 * limits.settle : limits.settle
    for (let waitMs = retryMs; ; waitMs *= 2) {
      const isTold = clock.now() - snapshot.askedAt >= settleMs
      found.push(...(await this.#ofDevice(device, snapshot)))
      if (isTold || found.some((each) => isOf(snapshot, each))) break
      await clock.sleep(waitMs)
    }
    for (const id of new Set(found.map((each) => each.id))) {
      try {
        await cloud.deleteSnapshot(id)
      } catch (error) {
        if (!isRefusal(error, 'InvalidSnapshot.NotFound')) throw error
      }
    }
    return this.#forget(entry)
  }

  async #forget(entry: Entry): Promise<Entry> {
    const left: Entry = { ...entry, snapshot: null }
    await this.#parts.ledger.write(left)
    return left
  }

  /** All that bear the device's tags, whichever request made them, and the one that is noted. */
  async #ofDevice(device: string, { snapshotId }: LedgerSnapshot): Promise<CloudSnapshot[]> {
    const { cloud, cluster } = this.#parts
    const tagged = await this.#tagged(device)
    if (snapshotId === null || tagged.some(({ id }) => id === snapshotId)) return tagged
    const noted = await cloud.snapshots([snapshotId])
    return [...tagged, ...noted.filter(({ tags }) => isOwn(tags, cluster(), device))]
  }
}

/** Older ones of the device do not count: while they show, this one may not do so yet. */
const isOf = ({ snapshotId, request }: LedgerSnapshot, { id, tags }: CloudSnapshot): boolean =>
  snapshotId === null ? request === undefined || tags[tag.request] === request : id === snapshotId
