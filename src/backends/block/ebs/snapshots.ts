import { randomUUID } from 'node:crypto'
import { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { unlessAborted } from '../../../lib/deadline.ts'
import { isRefusal, UnansweredCall } from './calls.ts'
import type { Asking, Cloud, CloudSnapshot, SnapshotPlace } from './cloud.ts'
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
  readonly #startedAt: number
  /** When requests that were not answered may have been on their way last, in milliseconds since 1970. */
  readonly #lastAsked = new Map<string, number>()

  constructor(parts: Parts) {
    this.#parts = parts
    this.#startedAt = parts.clock.now()
  }

  /**
   * Holds what the volume has at this moment; it is not whole yet. @param signal once aborted nobody waits for EC2 any more: what there may be is noted,
   * to be removed @throws TIMED_OUT, the signal's reason: whether there is one is not known
   */
  async begin(entry: Entry, volumeId: string, tags: Tags, signal?: AbortSignal): Promise<Entry> {
    const request = await this.note(entry)
    const asked = { ...tags, [tag.request]: request }
    try {
      const snapshotId = await unlessAborted(signal, this.ask(entry.device, volumeId, asked, { signal }))
      return await this.#noted(entry, request, snapshotId)
    } catch (error) {
      this.onItsWay(request)
      throw error
    }
  }

  /** That one is to be made of it. @returns what its tag has to say */
  async note(entry: Entry): Promise<string> {
    const request = randomUUID()
    await this.#parts.ledger.write({
      ...entry,
      snapshot: { snapshotId: null, askedAt: this.#parts.clock.now(), request },
    })
    return request
  }

  /**
   * What was noted; who asks notes the answer. @param asking with a time, a lost answer is not waited for
   * @throws TIMED_OUT: whether there is one is not known
   */
  ask(device: string, volumeId: string, asked: Tags, asking: Asking): Promise<string> {
    const create = (tags: Tags) => this.#parts.cloud.createSnapshot(volumeId, tags, asking)
    return this.#once(device, `volume ${volumeId}`, asked, create, asking)
  }

  /** It is being asked for, or was until now: describes tell of it so much later. */
  onItsWay(request: string): void {
    this.#lastAsked.set(request, this.#parts.clock.now())
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
    this.#lastAsked.delete(request)
    return begun
  }

  async #once(
    device: string,
    what: string,
    tags: Tags,
    ask: (tags: Tags) => Promise<string>,
    { timeoutMs, signal }: Asking = {},
  ): Promise<string> {
    for (let left = tries; ; left -= 1) {
      try {
        return await ask(tags)
      } catch (error) {
        this.onItsWay(tags[tag.request] ?? '')
        if (!(error instanceof UnansweredCall)) throw error
        const found = timeoutMs === undefined ? await this.#awaitTagged(device, tags) : null
        if (found !== null) return found
        if (left === 1 || timeoutMs !== undefined) {
          throw new DroverError('TIMED_OUT', `${what}: ${error.message}`, { cause: error })
        }
        signal?.throwIfAborted()
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
    const { device, snapshot } = entry
    if (snapshot === null) return entry
    if (snapshot.madeAs !== undefined) return this.#forget(entry)
    await this.#delete(await this.#shown(device, snapshot))
    return this.#forget(entry)
  }

  /** What that very request has made, whatever there is besides; the note is left. The absent is a success. */
  async withdraw(device: string, snapshot: LedgerSnapshot & { readonly request: string }): Promise<void> {
    const { snapshotId, request } = snapshot
    const found = await this.#shown(device, snapshot)
    await this.#delete(found.filter(({ id, tags }) => id === snapshotId || tags[tag.request] === request))
  }

  /** All that describes show of it when they must show it. */
  async #shown(device: string, snapshot: LedgerSnapshot): Promise<CloudSnapshot[]> {
    const { clock, limits } = this.#parts
    const found: CloudSnapshot[] = []
    // Not shown yet, maybe; without an answer it may have been made later than it was asked for.
    const settleMs = snapshot.snapshotId === null ? 2 * limits.settle : limits.settle
    for (let waitMs = retryMs; ; waitMs *= 2) {
      const isTold = clock.now() - this.#lastAskedAt(snapshot) >= settleMs
      found.push(...(await this.#ofDevice(device, snapshot)))
      if (isTold || found.some((each) => isOf(snapshot, each))) return found
      await clock.sleep(waitMs)
    }
  }

  /** A call that EC2 throttles is made for minutes after it was noted; by a process that has died until then, as far as anybody knows. */
  #lastAskedAt({ snapshotId, askedAt, request }: LedgerSnapshot): number {
    if (snapshotId !== null) return askedAt
    return Math.max(askedAt, this.#lastAsked.get(request ?? '') ?? this.#startedAt)
  }

  async #delete(found: readonly CloudSnapshot[]): Promise<void> {
    for (const id of new Set(found.map((each) => each.id))) {
      try {
        await this.#parts.cloud.deleteSnapshot(id)
      } catch (error) {
        if (!isRefusal(error, 'InvalidSnapshot.NotFound')) throw error
      }
    }
  }

  async #forget(entry: Entry): Promise<Entry> {
    this.#lastAsked.delete(entry.snapshot?.request ?? '')
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
