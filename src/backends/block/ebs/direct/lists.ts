import { type CallOptions, type Calls, isRefusal } from '../calls.ts'
import type { Ebs } from './client.ts'

/** AWS's blocks; other sizes are not understood. */
export const blockBytes = 512 * 1024

/** A snapshot to be read, upon the one that it is compared with. Both are whole. */
export interface SnapshotPair {
  readonly snapshotId: string
  /** Null: all that was written of it. */
  readonly baseSnapshotId: string | null
}

/** A block that may differ, with what it is asked for by. A token is null where that snapshot has no such block: it reads as zeros. */
export interface ListedBlock {
  readonly index: number
  readonly token: string | null
  readonly baseToken: string | null
}

interface Page {
  readonly blocks: readonly ListedBlock[]
  readonly next: string | undefined
}

type Place = { readonly NextToken: string } | { readonly StartingBlockIndex: number }

/** Of a page token that expired right away there is no end. */
const mostRestarts = 5

/** Why a call was refused, in AWS's word; null: it does not say. */
export const reasonOf = (error: unknown): string | null => {
  if (!isRefusal(error, 'ValidationException', 'ResourceNotFoundException')) return null
  const { cause } = error
  return cause instanceof Error && 'Reason' in cause && typeof cause.Reason === 'string' ? cause.Reason : null
}

/** Which blocks of a snapshot were written, or may differ from its base's. */
export class BlockLists {
  readonly #connect: () => Promise<Ebs>
  readonly #calls: Calls
  readonly #unansweredMs: number

  constructor(connect: () => Promise<Ebs>, calls: Calls, unansweredMs: number) {
    this.#connect = connect
    this.#calls = calls
    this.#unansweredMs = unansweredMs
  }

  /** In order, each once. @param timeoutMs for each call */
  async *blocks(pair: SnapshotPair, from = 0, timeoutMs?: number): AsyncGenerator<ListedBlock, void> {
    let [place, reached, restarts]: [Place, number, number] = [{ StartingBlockIndex: from }, from, 0]
    for (;;) {
      const page: Page | null = await this.#page(pair, place, timeoutMs)
      if (page === null) {
        restarts += 1
        if (restarts > mostRestarts) throw new Error(`the list of ${pair.snapshotId} does not get beyond ${reached}`)
        place = { StartingBlockIndex: reached }
        continue
      }
      for (const block of page.blocks) {
        if (block.index < reached)
          throw new Error(`the list of ${pair.snapshotId} names block ${block.index} out of order`)
        reached = block.index + 1
        restarts = 0
        yield block
      }
      if (page.next === undefined) return
      place = { NextToken: page.next }
    }
  }

  /** Null: the token of the page has expired. */
  async #page(pair: SnapshotPair, place: Place, timeoutMs: number | undefined): Promise<Page | null> {
    try {
      return await (pair.baseSnapshotId === null
        ? this.#written(pair.snapshotId, place, timeoutMs)
        : this.#changed(pair.snapshotId, pair.baseSnapshotId, place, timeoutMs))
    } catch (error) {
      if ('NextToken' in place && reasonOf(error) === 'INVALID_PAGE_TOKEN') return null
      throw error
    }
  }

  async #written(SnapshotId: string, place: Place, timeoutMs: number | undefined): Promise<Page> {
    const answer = await this.#calls.make('ebs:ListSnapshotBlocks', this.#options(timeoutMs), async () =>
      (await this.#connect()).listSnapshotBlocks({ SnapshotId, ...place }),
    )
    checkBlockSize(SnapshotId, answer.BlockSize)
    const blocks = (answer.Blocks ?? []).map(({ BlockIndex, BlockToken }) => ({
      ...{ index: indexIn(SnapshotId, BlockIndex), token: BlockToken ?? null, baseToken: null },
    }))
    return { blocks, next: answer.NextToken || undefined }
  }

  async #changed(SecondSnapshotId: string, FirstSnapshotId: string, place: Place, timeoutMs?: number): Promise<Page> {
    const answer = await this.#calls.make('ebs:ListChangedBlocks', this.#options(timeoutMs), async () =>
      (await this.#connect()).listChangedBlocks({ FirstSnapshotId, SecondSnapshotId, ...place }),
    )
    checkBlockSize(SecondSnapshotId, answer.BlockSize)
    const blocks = (answer.ChangedBlocks ?? []).map(({ BlockIndex, FirstBlockToken, SecondBlockToken }) => ({
      ...{ index: indexIn(SecondSnapshotId, BlockIndex), token: SecondBlockToken ?? null },
      baseToken: FirstBlockToken ?? null,
    }))
    return { blocks, next: answer.NextToken || undefined }
  }

  #options(timeoutMs: number | undefined): CallOptions {
    return timeoutMs === undefined ? { again: true, unansweredMs: this.#unansweredMs } : { again: true, timeoutMs }
  }
}

const checkBlockSize = (snapshotId: string, size: number | undefined): void => {
  if (size !== blockBytes) throw new Error(`the blocks of ${snapshotId} have ${size} bytes, not ${blockBytes}`)
}

const indexIn = (snapshotId: string, index: number | undefined): number => {
  if (index !== undefined && Number.isSafeInteger(index) && index >= 0) return index
  throw new Error(`the list of ${snapshotId} names a block ${index}`)
}
