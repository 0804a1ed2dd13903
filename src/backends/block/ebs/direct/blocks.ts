import { createHash } from 'node:crypto'
import { DroverError } from '../../../../domain/errors.ts'
import type { Calls } from '../calls.ts'
import type { Ebs } from './client.ts'
import { BlockLists, blockBytes, type ListedBlock, reasonOf, type SnapshotPair } from './lists.ts'

const tries = 3

/** Blocks of snapshots, each proved by its checksum. */
export class DirectBlocks {
  readonly lists: BlockLists
  readonly #connect: () => Promise<Ebs>
  readonly #calls: Calls
  readonly #unansweredMs: number

  /** @param unansweredMs after which who waits for the blocks hears that nothing comes */
  constructor(connect: () => Promise<Ebs>, calls: Calls, unansweredMs = 20_000) {
    this.lists = new BlockLists(connect, calls, unansweredMs)
    this.#connect = connect
    this.#calls = calls
    this.#unansweredMs = unansweredMs
  }

  /**
   * What both snapshots of the pair have there; zeros where the base has no such block. @param timeoutMs for each call
   * @throws STREAM_FAILED for what is damaged
   */
  async read(
    pair: SnapshotPair,
    block: ListedBlock,
    timeoutMs?: number,
  ): Promise<{ bytes: Buffer; old: Buffer | null }> {
    const [bytes, old] = await Promise.all([
      this.#read(pair, block, 'token', timeoutMs),
      pair.baseSnapshotId === null ? null : this.#read(pair, block, 'baseToken', timeoutMs),
    ])
    return { bytes, old }
  }

  /** What the snapshot itself has there, whatever its base has. @throws STREAM_FAILED for what is damaged */
  current(pair: SnapshotPair, block: ListedBlock): Promise<Buffer> {
    return this.#read(pair, block, 'token')
  }

  async #read(
    pair: SnapshotPair,
    block: ListedBlock,
    which: 'token' | 'baseToken',
    timeoutMs?: number,
  ): Promise<Buffer> {
    const token = block[which]
    const snapshotId = (which === 'token' ? pair.snapshotId : pair.baseSnapshotId) ?? ''
    if (token === null) {
      // Of the base alone it is said what that means.
      if (which === 'baseToken') return Buffer.alloc(blockBytes)
      throw new DroverError(
        'STREAM_FAILED',
        `no token came for block ${block.index} of ${snapshotId}: what it holds is not known`,
      )
    }
    try {
      return await this.#proved(snapshotId, block.index, token, timeoutMs)
    } catch (error) {
      if (reasonOf(error) !== 'INVALID_BLOCK_TOKEN') throw error
      // It has expired: who takes the stream was slow.
      for await (const again of this.lists.blocks(pair, block.index)) {
        const fresh = again.index === block.index ? again[which] : null
        if (fresh !== null) return this.#proved(snapshotId, block.index, fresh)
        break
      }
      throw error
    }
  }

  async #proved(snapshotId: string, index: number, token: string, timeoutMs?: number): Promise<Buffer> {
    const options = timeoutMs === undefined ? { unansweredMs: this.#unansweredMs } : { timeoutMs }
    for (let left = tries; ; left -= 1) {
      const { bytes, told } = await this.#calls.make('ebs:GetSnapshotBlock', { again: true, ...options }, () =>
        this.#get(snapshotId, index, token),
      )
      const found = createHash('sha256').update(bytes).digest('base64')
      if (bytes.length === blockBytes && told === found) return bytes
      if (left > 1) continue
      throw new DroverError(
        'STREAM_FAILED',
        `block ${index} of snapshot ${snapshotId} came damaged ${tries} times: ${bytes.length} bytes with SHA256 ${found}, EBS says ${told}; nothing of it is used`,
        { details: { snapshotId, blockIndex: index, found, told } },
      )
    }
  }

  async #get(SnapshotId: string, BlockIndex: number, BlockToken: string): Promise<{ bytes: Buffer; told: string }> {
    const answer = await (await this.#connect()).getSnapshotBlock({ SnapshotId, BlockIndex, BlockToken })
    const { buffer, byteOffset, byteLength } = (await answer.BlockData?.transformToByteArray()) ?? new Uint8Array()
    const bytes = Buffer.from(buffer, byteOffset, byteLength)
    const isKnown = answer.ChecksumAlgorithm === 'SHA256' && answer.Checksum !== undefined
    return { bytes, told: isKnown ? (answer.Checksum ?? '') : 'none' }
  }
}
