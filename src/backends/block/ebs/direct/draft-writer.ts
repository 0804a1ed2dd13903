import { createHash } from 'node:crypto'
import type { Sink } from '../../stream/sink.ts'
import { blockBytes } from './lists.ts'
import type { ParentBlocks } from './parent-blocks.ts'
import type { DirectWrites } from './writes.ts'

/** So many blocks are on their way at a time. */
const mostUnderWay = 16

const nothing = Buffer.alloc(blockBytes)

/**
 * Extents of a stream, in order, become blocks of a snapshot that is being written: each once, and in order, so that their checksums add up to one
 * as they go. What an extent leaves of a block is the parent's.
 */
export class DraftWriter implements Sink {
  readonly #writes: DirectWrites
  readonly #parent: ParentBlocks | null
  readonly #snapshotId: string
  readonly #all = createHash('sha256')
  readonly #underWay = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | null = null
  #open: { readonly index: number; readonly bytes: Buffer } | null = null
  #count = 0

  /** @param parent null: what no extent names is zeros */
  constructor(writes: DirectWrites, snapshotId: string, parent: ParentBlocks | null) {
    this.#writes = writes
    this.#snapshotId = snapshotId
    this.#parent = parent
  }

  data(offset: number, bytes: Buffer): Promise<void> {
    return this.#each(offset, bytes.length, async (index, from, to) => {
      const at = index * blockBytes
      bytes.copy((await this.#block(index, from, to)).subarray(from), 0, at + from - offset, at + to - offset)
    })
  }

  zeros(offset: number, length: number): Promise<void> {
    return this.#each(offset, length, async (index, from, to) => {
      const isOpen = this.#open?.index === index
      // Nothing there, nothing to be written.
      if (!isOpen && (this.#parent === null || (await this.#parent.find(index)) === null)) return
      const block = await this.#block(index, from, to)
      block.fill(0, from, to)
    })
  }

  /** What is on its way is not waited for. @throws what has failed meanwhile */
  async reached(): Promise<void> {
    if (this.#failure !== null) throw this.#failure.error
  }

  /** The snapshot is complete, and becomes whole. @throws what any of the blocks met with */
  async end(): Promise<void> {
    await this.#put()
    await Promise.all(this.#underWay)
    await this.reached()
    await this.#writes.complete(this.#snapshotId, this.#count, this.#all.digest('base64'))
  }

  async #each(
    offset: number,
    length: number,
    take: (index: number, from: number, to: number) => Promise<void>,
  ): Promise<void> {
    const end = offset + length
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / blockBytes)
      const start = index * blockBytes
      const stop = Math.min(start + blockBytes, end)
      await take(index, at - start, stop - start)
      at = stop
    }
  }

  /** The block that is being filled, with what it has besides the bytes from `from` to `to`. */
  async #block(index: number, from: number, to: number): Promise<Buffer> {
    if (this.#open?.index === index) return this.#open.bytes
    await this.#put()
    const isPart = from > 0 || to < blockBytes
    const old = isPart && this.#parent !== null ? await this.#parent.find(index) : null
    const bytes = old === null || this.#parent === null ? Buffer.alloc(blockBytes) : await this.#parent.read(old)
    this.#open = { index, bytes }
    return bytes
  }

  async #put(): Promise<void> {
    const block = this.#open
    this.#open = null
    if (block === null || (this.#parent === null && block.bytes.equals(nothing))) return
    while (this.#underWay.size >= mostUnderWay) await Promise.race(this.#underWay)
    await this.reached()
    const digest = createHash('sha256').update(block.bytes).digest()
    this.#all.update(digest)
    this.#count += 1
    const one: Promise<void> = this.#writes
      .put(this.#snapshotId, block.index, block.bytes, digest.toString('base64'))
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#underWay.delete(one))
    this.#underWay.add(one)
  }
}
