import { join } from 'node:path'
import type { DatasetRecord, Epoch } from '../domain/dataset.ts'
import type { VolumeId } from '../domain/ids.ts'
import type { Files } from '../lib/files.ts'
import { type Machine, thisMachine } from '../lib/machine.ts'

/** Asks control and the other hosts who owns the volume, bounded in time; 0 when nobody answered or knows more. */
export type AskOthers = (record: DatasetRecord) => Promise<Epoch>

/** Rule 7: the first mount after a boot asks the others whether the volume was owned elsewhere since. */
export class FirstMount {
  readonly #path: string
  readonly #files: Files
  readonly #bootId: string
  readonly #ask: AskOthers
  readonly #asked: Set<VolumeId>

  private constructor(path: string, files: Files, bootId: string, asked: Set<VolumeId>, ask: AskOthers) {
    this.#path = path
    this.#files = files
    this.#bootId = bootId
    this.#asked = asked
    this.#ask = ask
  }

  static async open(dataDir: string, ask: AskOthers, machine: Machine = thisMachine): Promise<FirstMount> {
    const path = join(dataDir, 'asked-since-boot.json')
    const bootId = await machine.bootId()
    const text = await machine.files.readIfExists(path)
    const stored: { bootId: string; volumes: VolumeId[] } | null = text === null ? null : JSON.parse(text)
    return new FirstMount(path, machine.files, bootId, new Set(stored?.bootId === bootId ? stored.volumes : []), ask)
  }

  /**
   * The highest epoch at which somebody else is known to have owned it. Whoever hears of a higher one than his own is asked to ask
   * again at every mount, also after a restart: a fence is never forgotten.
   */
  async heardOwnerEpoch(record: DatasetRecord): Promise<Epoch> {
    if (this.#asked.has(record.volumeId)) return 0
    const heard = await this.#ask(record)
    if (heard <= record.epoch) await this.trust(record.volumeId)
    return heard
  }

  /** The volume's owner was settled with the others since boot: made here, or moved here. */
  async trust(id: VolumeId): Promise<void> {
    if (this.#asked.has(id)) return
    this.#asked.add(id)
    await this.#write()
  }

  /** The data left this host: should a record of an owner reappear, it is asked about again. */
  async forget(id: VolumeId): Promise<void> {
    if (this.#asked.delete(id)) await this.#write()
  }

  async #write(): Promise<void> {
    await this.#files.writeJsonDurably(this.#path, { bootId: this.#bootId, volumes: [...this.#asked] })
  }
}
