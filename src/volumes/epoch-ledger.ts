import { join } from 'node:path'
import type { Epoch } from '../domain/dataset.ts'
import { DroverError } from '../domain/errors.ts'
import type { MoveId, VolumeId } from '../domain/ids.ts'
import { diskFiles, type Files } from '../lib/files.ts'

/** What has been heard of each volume's epochs, and which moves have ended. */
export type Epochs = Pick<EpochLedger, 'seen' | 'hasEnded' | 'all' | 'check' | 'record' | 'forget'>

interface Heard {
  readonly seen: Epoch
  readonly ended: readonly MoveId[]
}

const rememberedMoves = 16

/**
 * What this host has heard of each volume's epochs, also of volumes whose data has left it: a late command of an ended
 * move must be refused although there is no record on any pool any more. One small file, written durably.
 */
export class EpochLedger {
  readonly #path: string
  readonly #files: Files
  readonly #heard: Map<VolumeId, Heard>
  #writing: Promise<void> = Promise.resolve()

  private constructor(path: string, files: Files, heard: Map<VolumeId, Heard>) {
    this.#path = path
    this.#files = files
    this.#heard = heard
  }

  static async open(dataDir: string, files: Files = diskFiles): Promise<EpochLedger> {
    const path = join(dataDir, 'epochs.json')
    const text = await files.readIfExists(path)
    const rows: [VolumeId, Heard][] = text === null ? [] : JSON.parse(text)
    return new EpochLedger(path, files, new Map(rows))
  }

  seen(id: VolumeId): Epoch {
    return this.#heard.get(id)?.seen ?? 0
  }

  hasEnded(id: VolumeId, move: MoveId): boolean {
    return this.#heard.get(id)?.ended.includes(move) ?? false
  }

  /** Everything heard, for a store that has lost its memory. */
  all(): { volumeId: VolumeId; seen: Epoch; ended: readonly MoveId[] }[] {
    return [...this.#heard].map(([volumeId, heard]) => ({ volumeId, ...heard }))
  }

  /** @throws STALE_EPOCH when the command is of an ended move, or older than what was heard */
  check(id: VolumeId, move: MoveId, epoch: Epoch): void {
    if (this.hasEnded(id, move)) {
      throw new DroverError('STALE_EPOCH', `move ${move} has ended on this host; nothing was done`)
    }
    if (epoch < this.seen(id)) {
      throw new DroverError(
        'STALE_EPOCH',
        `epoch ${epoch} of move ${move} is older than ${this.seen(id)}, which this host has seen; nothing was done`,
      )
    }
  }

  /** Durable when it returns. */
  async record(id: VolumeId, epoch: Epoch, ended?: MoveId): Promise<void> {
    const before = this.#heard.get(id) ?? { seen: 0, ended: [] }
    const isNew = ended !== undefined && !before.ended.includes(ended)
    if (epoch <= before.seen && !isNew) return
    this.#heard.set(id, {
      seen: Math.max(before.seen, epoch),
      ended: isNew ? [...before.ended, ended].slice(-rememberedMoves) : before.ended,
    })
    await this.#write()
  }

  /** The volume was deleted, by record. */
  async forget(id: VolumeId): Promise<void> {
    if (this.#heard.delete(id)) await this.#write()
  }

  async #write(): Promise<void> {
    const previous = this.#writing
    const mine = previous.catch(() => undefined).then(() => this.#files.writeJsonDurably(this.#path, [...this.#heard]))
    this.#writing = mine
    await mine
  }
}

const asTarget = (move: MoveId): MoveId => `${move}.target` as MoveId

/**
 * The ledger as the target's side of a move within one host keeps it: what was heard is the host's, that the move has ended is this
 * side's own. The source's side ends at another time.
 */
export const endsOfTarget = (ledger: Epochs): Epochs => ({
  seen: (id) => ledger.seen(id),
  all: () => ledger.all(),
  forget: (id) => ledger.forget(id),
  hasEnded: (id, move) => ledger.hasEnded(id, asTarget(move)),
  check: (id, move, epoch) => ledger.check(id, asTarget(move), epoch),
  record: (id, epoch, ended) => ledger.record(id, epoch, ended === undefined ? undefined : asTarget(ended)),
})
