import type { DirectBlocks } from './blocks.ts'
import { blockBytes, type ListedBlock, type SnapshotPair } from './lists.ts'

/** Beyond so many blocks the list is asked for from there on, and not gone through. */
const farBlocks = 10_000

/** What a snapshot has at blocks that are asked for in order. */
export class ParentBlocks {
  readonly #blocks: DirectBlocks
  readonly #pair: SnapshotPair
  readonly #sizeBytes: number
  #list: AsyncGenerator<ListedBlock, void> | null = null
  #next: ListedBlock | null = null
  #isOver = false

  constructor(blocks: DirectBlocks, { snapshotId, sizeBytes }: { snapshotId: string; sizeBytes: number }) {
    this.#blocks = blocks
    this.#sizeBytes = sizeBytes
    this.#pair = { snapshotId, baseSnapshotId: null }
  }

  /** Null: it has none there, and reads as zeros. */
  async find(index: number): Promise<ListedBlock | null> {
    // A volume that has grown since: beyond its end no list can be asked for.
    if (index * blockBytes >= this.#sizeBytes) return null
    if (this.#next === null || index - this.#next.index > farBlocks) {
      if (this.#isOver) return null
      this.#list = this.#blocks.lists.blocks(this.#pair, index)
      await this.#step()
    }
    while (this.#next !== null && this.#next.index < index) await this.#step()
    return this.#next?.index === index ? this.#next : null
  }

  async read(block: ListedBlock): Promise<Buffer> {
    return (await this.#blocks.read(this.#pair, block)).bytes
  }

  async #step(): Promise<void> {
    const step = await this.#list?.next()
    this.#next = step === undefined || step.done === true ? null : step.value
    this.#isOver = this.#next === null
  }
}
