import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DatasetRecord, Epoch } from '../domain/dataset.ts'
import type { VolumeId } from '../domain/ids.ts'
import { readIfExists, writeJsonDurably } from '../lib/files.ts'

/** Asks control and the other hosts who owns the volume, bounded in time; 0 when nobody answered or knows more. */
export type AskOthers = (record: DatasetRecord) => Promise<Epoch>

/** Rule 7: the first mount after a boot asks the others whether the volume was owned elsewhere since. */
export class FirstMount {
  readonly #path: string
  readonly #bootId: string
  readonly #ask: AskOthers
  readonly #asked: Set<VolumeId>
  readonly #heard = new Map<VolumeId, Epoch>()

  private constructor(path: string, bootId: string, asked: Set<VolumeId>, ask: AskOthers) {
    this.#path = path
    this.#bootId = bootId
    this.#asked = asked
    this.#ask = ask
  }

  static async open(dataDir: string, ask: AskOthers): Promise<FirstMount> {
    const path = join(dataDir, 'asked-since-boot.json')
    const bootId = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    const text = await readIfExists(path)
    const stored: { bootId: string; volumes: VolumeId[] } | null = text === null ? null : JSON.parse(text)
    return new FirstMount(path, bootId, new Set(stored?.bootId === bootId ? stored.volumes : []), ask)
  }

  /** The highest epoch at which somebody else is known to own it. */
  async heardOwnerEpoch(record: DatasetRecord): Promise<Epoch> {
    if (!this.#asked.has(record.volumeId)) {
      this.#heard.set(record.volumeId, await this.#ask(record))
      await this.trust(record.volumeId)
    }
    return this.#heard.get(record.volumeId) ?? 0
  }

  /** The volume's owner was settled with the others since boot: made here, or moved here. */
  async trust(id: VolumeId): Promise<void> {
    if (this.#asked.has(id)) return
    this.#asked.add(id)
    await writeJsonDurably(this.#path, { bootId: this.#bootId, volumes: [...this.#asked] })
  }

  /** A later role change here overrides what was heard before. */
  settle(id: VolumeId): void {
    this.#heard.delete(id)
  }
}
