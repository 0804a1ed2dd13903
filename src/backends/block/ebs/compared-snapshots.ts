import { DroverError } from '../../../domain/errors.ts'
import { within } from '../../../lib/deadline.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry, LedgerSnapshot } from './ledger.ts'
import { type Tags, tag } from './tags.ts'

interface Parts extends Pick<EbsParts, 'clock' | 'ledger' | 'snapshots' | 'logger'> {
  /** While nothing else is done with the device. */
  locked<T>(device: string, work: () => Promise<T>): Promise<T>
  tags(entry: Entry): Tags
}

/**
 * Snapshots of devices that are written, taken to be compared with and noted beside their volumes, one of a device at a time. EC2 is never waited for while
 * the device is held: who mounts it, or takes it back, need not know that there is one.
 */
export class ComparedSnapshots {
  readonly #parts: Parts
  readonly #used = new Set<string>()
  readonly #removals = new Map<string, Promise<void>>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** Of what the device holds now; not whole yet. Null: there can be none. @throws TIMED_OUT: whether there is one is not known, it is removed */
  async take(device: string, withinMs: number): Promise<string | null> {
    if (this.#used.has(device)) return null
    const { clock } = this.#parts
    const late = () => new DroverError('TIMED_OUT', `what is left of a comparison of ${device} is still being removed`)
    await within(clock, withinMs, this.remove(device), late)
    if (this.#used.has(device)) return null
    this.#used.add(device)
    const taken = await this.#take(device, withinMs).catch((error: unknown) => {
      this.drop(device)
      throw error
    })
    if (taken === null) this.#used.delete(device)
    return taken
  }

  async #take(device: string, withinMs: number): Promise<string | null> {
    const { ledger, snapshots, clock, locked, tags } = this.#parts
    const noted = await locked(device, async () => {
      const found = await ledger.read(device)
      if (found === null || !isBeside(found) || found.snapshot !== null) return null
      return { volumeId: found.volume.volumeId, request: await snapshots.note(found), tags: tags(found) }
    })
    if (noted === null) return null
    const { volumeId, request } = noted
    const asked = snapshots.ask(device, volumeId, { ...noted.tags, [tag.request]: request }, { timeoutMs: withinMs })
    const late = () => new DroverError('TIMED_OUT', `whether there is a snapshot of volume ${volumeId} is not answered`)
    const snapshotId = await within(clock, withinMs, asked, late).catch((error: unknown) => {
      // The request itself may be under way for a while yet.
      snapshots.onItsWay(request)
      throw error
    })
    const snapshot = { snapshotId, askedAt: clock.now(), request }
    const isNoted = await locked(device, async () => {
      const found = await ledger.read(device)
      if (found?.snapshot?.request !== request) return false
      await ledger.write({ ...found, snapshot })
      return true
    })
    if (isNoted) return snapshotId
    // Who removed the note, or the device, may not have seen it.
    await snapshots.withdraw(device, snapshot)
    return null
  }

  /** It is not used any more; nobody waits for it to go. */
  drop(device: string): void {
    this.#used.delete(device)
    void this.remove(device)
  }

  /** What was left of one; of one that is in use nothing is touched. Never fails: what is left, the next comparison or the next start removes. */
  remove(device: string): Promise<void> {
    const known = this.#removals.get(device)
    if (known !== undefined) return known
    const removal = this.#remove(device)
      .catch((error: unknown) => {
        const { logger } = this.#parts
        logger.warn({ device, err: error }, 'a snapshot that was taken to compare is left; it is removed later')
      })
      .finally(() => this.#removals.delete(device))
    this.#removals.set(device, removal)
    return removal
  }

  async #remove(device: string): Promise<void> {
    const { ledger, snapshots, locked } = this.#parts
    const left = await locked(device, async () => {
      const found = await ledger.read(device)
      return found !== null && isBeside(found) && !this.#used.has(device) ? found.snapshot : null
    })
    if (!isAsked(left)) return
    await snapshots.withdraw(device, left)
    await locked(device, async () => {
      const found = await ledger.read(device)
      if (found?.snapshot?.request === left.request) await ledger.write({ ...found, snapshot: null })
    })
  }
}

type Made = Entry & { readonly volume: { readonly volumeId: string } }

/** It is a volume that may be written: a snapshot that is noted beside it is for a comparison, or is left of something. */
const isBeside = (entry: Entry): entry is Made =>
  entry.sealMark === null && entry.passing === undefined && entry.volume?.volumeId != null

/** Of an earlier version's it is not known which of the device's it is. */
const isAsked = (left: LedgerSnapshot | null): left is LedgerSnapshot & { readonly request: string } =>
  left?.request !== undefined
