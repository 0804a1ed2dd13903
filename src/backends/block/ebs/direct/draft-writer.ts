import { createHash } from 'node:crypto'
import type { Sink } from '../../stream/sink.ts'
import { blockBytes } from './lists.ts'
import type { ParentBlocks } from './parent-blocks.ts'
import type { DirectWrites } from './writes.ts'

/** So many blocks are on their way at a time, those that are still to be completed from the parent's among them. */
const mostUnderWay = 32

const nothing = Buffer.alloc(blockBytes)

/** What extents name of a block; bytes null: zeros. */
interface Patch {
  readonly from: number
  readonly to: number
  readonly bytes: Buffer | null
}

interface OpenBlock {
  readonly index: number
  /** What it has besides. */
  readonly old: Promise<Buffer>
  readonly patches: Patch[]
}

interface Prepared {
  readonly index: number
  readonly bytes: Buffer
  readonly digest: Buffer
}

/**
 * Extents of a stream, in order, become blocks of a snapshot that is being written: each once, their checksums added up in the order of the blocks.
 * What an extent leaves of a block is the parent's.
 */
export class DraftWriter implements Sink {
  readonly #writes: DirectWrites
  readonly #parent: ParentBlocks | null
  readonly #snapshotId: string
  readonly #all = createHash('sha256')
  readonly #underWay = new Set<Promise<void>>()
  #counted: Promise<void> = Promise.resolve()
  #failure: { readonly error: unknown } | null = null
  #open: OpenBlock | null = null
  #count = 0

  /** @param parent null: what no extent names is zeros */
  constructor(writes: DirectWrites, snapshotId: string, parent: ParentBlocks | null) {
    this.#writes = writes
    this.#snapshotId = snapshotId
    this.#parent = parent
  }

  data(offset: number, bytes: Buffer): Promise<void> {
    return this.#each(offset, bytes.length, async (index, from, to) => {
      const at = index * blockBytes - offset
      const { patches } = await this.#block(index, from, to)
      patches.push({ from, to, bytes: Buffer.from(bytes.subarray(at + from, at + to)) })
    })
  }

  zeros(offset: number, length: number): Promise<void> {
    return this.#each(offset, length, async (index, from, to) => {
      const isOpen = this.#open?.index === index
      // Nothing there, nothing to be written.
      if (!isOpen && (this.#parent === null || (await this.#parent.find(index)) === null)) return
      const { patches } = await this.#block(index, from, to)
      patches.push({ from, to, bytes: null })
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
    await this.#counted
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

  /** The block that is being filled. The parent's is read, beside others, unless the bytes from `from` to `to` are all of it. */
  async #block(index: number, from: number, to: number): Promise<OpenBlock> {
    if (this.#open?.index === index) return this.#open
    await this.#put()
    const isPart = from > 0 || to < blockBytes
    const found = isPart && this.#parent !== null ? await this.#parent.find(index) : null
    const old =
      found === null || this.#parent === null ? Promise.resolve(Buffer.alloc(blockBytes)) : this.#parent.read(found)
    // Told when the block is put.
    old.catch(() => {})
    this.#open = { index, old, patches: [] }
    return this.#open
  }

  async #put(): Promise<void> {
    const block = this.#open
    this.#open = null
    if (block === null) return
    while (this.#underWay.size >= mostUnderWay) await Promise.race(this.#underWay)
    await this.reached()
    const prepared = this.#prepare(block)
    const before = this.#counted
    const one: Promise<void> = this.#send(prepared)
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#underWay.delete(one))
    this.#counted = before.then(() => this.#countIn(prepared)).catch(() => {})
    this.#underWay.add(one)
  }

  /** Null: it is blank, and none. */
  async #prepare({ index, old, patches }: OpenBlock): Promise<Prepared | null> {
    const bytes = await old
    for (const patch of patches) {
      if (patch.bytes === null) bytes.fill(0, patch.from, patch.to)
      else patch.bytes.copy(bytes, patch.from)
    }
    if (this.#parent === null && bytes.equals(nothing)) return null
    return { index, bytes, digest: createHash('sha256').update(bytes).digest() }
  }

  async #send(prepared: Promise<Prepared | null>): Promise<void> {
    const block = await prepared
    if (block === null) return
    await this.#writes.put(this.#snapshotId, block.index, block.bytes, block.digest.toString('base64'))
  }

  async #countIn(prepared: Promise<Prepared | null>): Promise<void> {
    const block = await prepared
    if (block === null) return
    this.#all.update(block.digest)
    this.#count += 1
  }
}
