import type { EbsParts } from './ebs-parts.ts'
import { IdleViews } from './idle-views.ts'
import type { Entry } from './ledger.ts'
import type { Making } from './making.ts'

/** Volumes that show a snapshot: made when somebody wants to read it, dropped when nobody did for a while. */
export class SnapshotViews {
  readonly #parts: EbsParts
  readonly #making: Making
  readonly #idle: IdleViews

  constructor(parts: EbsParts, making: Making) {
    this.#parts = parts
    this.#making = making
    this.#idle = new IdleViews(parts.clock, parts.surroundings.limits.view)
  }

  /** @param drop `drop` of this, while nothing else is done with the device */
  start(drop: (device: string) => Promise<void>): void {
    this.#idle.start(drop)
  }

  stop(): void {
    this.#idle.stop()
  }

  /** The entry with a volume, also of a sealed device. */
  async shown(entry: Entry): Promise<Entry> {
    const { device, snapshot, volume } = entry
    const isView = entry.sealMark !== null || (snapshot !== null && volume === null)
    if (!isView) return entry
    this.#idle.touch(device)
    if (volume?.volumeId != null) return entry
    const { snapshots, volumes, attachments } = this.#parts
    // One that was asked for before a crash goes first.
    const without = await volumes.destroy(entry, attachments)
    await snapshots.whole(snapshot?.snapshotId ?? '', device)
    return this.#making.volume(without, snapshot?.snapshotId ?? null)
  }

  /** Not one that is in use. */
  async drop(device: string): Promise<void> {
    const { ledger, disks, volumes, attachments, logger } = this.#parts
    const entry = await ledger.read(device)
    if (entry === null || entry.sealMark === null || entry.volume === null) return
    const disk = entry.volume.volumeId === null ? null : await disks.find(entry.volume.volumeId)
    if (disk !== null && ((await disks.isClaimed(disk)) || (await disks.isOpen(disk)))) return
    await volumes.destroy(entry, attachments).catch((error: unknown) => {
      logger.warn({ device, err: error }, 'a volume that showed a snapshot is left; it is tried again')
    })
  }
}
