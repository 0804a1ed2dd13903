import { lstat } from 'node:fs/promises'
import type { VolumeId } from '../../domain/ids.ts'
import type { Clock } from '../../lib/clock.ts'
import { isErrno } from '../../lib/files.ts'
import type { BtrfsCommand } from './btrfs-command.ts'
import type { Layout } from './layout.ts'
import type { SubvolumeInfo } from './parse.ts'

/** File systems stamp times in steps of up to 10 ms: a directory that changed so lately could change again unseen. */
const settledMs = 100
/** Of the top directory of every subvolume, and of nothing else. */
const topInode = 256n

/**
 * Which subvolume is called `live`, known from the last `btrfs subvolume show` of it: a Mount need not start a process to be told the
 * same again. What is remembered counts only with its evidence. Another subvolume can come under that name by a rename, removal or
 * creation in the volume's directory, each of which moves that directory's ctime, which nobody can set; by another directory in
 * its place, which has another inode; or by a mount over either, which has another device.
 */
export class KnownLive {
  readonly #layout: Layout
  readonly #command: BtrfsCommand
  readonly #clock: Clock
  readonly #known = new Map<VolumeId, { evidence: string; info: SubvolumeInfo }>()

  constructor(layout: Layout, command: BtrfsCommand, clock: Clock) {
    this.#layout = layout
    this.#command = command
    this.#clock = clock
  }

  /** Null when there is none. Identity as it is now; generation and limit may be those of the last look. */
  async show(id: VolumeId): Promise<SubvolumeInfo | null> {
    const before = await this.#evidence(id)
    const known = this.#known.get(id)
    if (known !== undefined && known.evidence === before?.text) return known.info
    this.#known.delete(id)
    const info = await this.#command.show(this.#layout.live(id))
    if (info === null || before === null || this.#clock.now() - before.changedMs < settledMs) return info
    if ((await this.#evidence(id))?.text === before.text) this.#known.set(id, { evidence: before.text, info })
    return info
  }

  forget(id: VolumeId): void {
    this.#known.delete(id)
  }

  /** Null when there is no subvolume to be known. */
  async #evidence(id: VolumeId): Promise<{ text: string; changedMs: number } | null> {
    try {
      const [home, live] = await Promise.all([
        lstat(this.#layout.volume(id), { bigint: true }),
        lstat(this.#layout.live(id), { bigint: true }),
      ])
      if (live.ino !== topInode) return null
      const text = [home.dev, home.ino, home.ctimeNs, live.dev, live.birthtimeNs].join(' ')
      return { text, changedMs: Number(home.ctimeMs) }
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
      throw error
    }
  }
}
