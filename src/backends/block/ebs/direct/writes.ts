import type { Tag } from '@aws-sdk/client-ebs'
import { DroverError } from '../../../../domain/errors.ts'
import type { Clock } from '../../../../lib/clock.ts'
import { type Calls, isRefusal, UnansweredCall } from '../calls.ts'
import type { Tags } from '../tags.ts'
import type { Ebs } from './client.ts'
import { type BlockLists, blockBytes, reasonOf } from './lists.ts'

export interface StartRequest {
  /** Asked again with the same token and request it is the same snapshot. */
  readonly token: string
  readonly gib: number
  /** Null: it is blank. */
  readonly parentSnapshotId: string | null
  readonly tags: Tags
  /** Null: as its parent is encrypted, or as the account encrypts by itself. */
  readonly kmsKeyArn: string | null
}

interface Parts {
  readonly connect: () => Promise<Ebs>
  readonly calls: Calls
  readonly clock: Clock
  readonly lists: BlockLists
  /** A call to which nothing comes is made again for so long. */
  readonly unansweredMs: number
}

const tries = 3
/** AWS gives a snapshot up on which nobody has gone on for so long. */
const idleMinutes = 60
/**
 * What was started a moment ago may not be known everywhere, for up to two minutes as others have seen of AWS; and a block may still be written for a
 * try whose answer was lost.
 */
const knownMs = 150_000
const settleMs = 60_000
const waitMs = 1_000
/** Another try does not help. */
const final = ['INVALID_SNAPSHOT_ID', 'INVALID_BLOCK', 'WRITE_REQUEST_TIMEOUT']

/** Snapshots that are written block by block, each with its checksum. */
export class DirectWrites {
  readonly #parts: Parts

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @returns its id; it can be written, and is nothing yet @throws UnansweredCall: one may have been started; RefusedCall, NOT_PERMITTED */
  async start({ token, gib, parentSnapshotId, tags, kmsKeyArn }: StartRequest): Promise<string> {
    const { connect } = this.#parts
    const answer = await this.#insist('ebs:StartSnapshot', async () =>
      (await connect()).startSnapshot({
        ...{ ClientToken: token, VolumeSize: gib, Tags: asTags(tags), Timeout: idleMinutes },
        ...(parentSnapshotId === null ? {} : { ParentSnapshotId: parentSnapshotId }),
        ...(parentSnapshotId !== null || kmsKeyArn === null ? {} : { Encrypted: true, KmsKeyArn: kmsKeyArn }),
      }),
    )
    if (answer.SnapshotId === undefined || answer.BlockSize !== blockBytes) {
      throw new Error(`StartSnapshot was answered with ${answer.SnapshotId} in blocks of ${answer.BlockSize} bytes`)
    }
    return answer.SnapshotId
  }

  /** @param checksum SHA256, in base64 @throws STREAM_FAILED when it arrives damaged again and again */
  async put(snapshotId: string, index: number, bytes: Buffer, checksum: string): Promise<void> {
    const { clock } = this.#parts
    const knownAt = clock.monotonic() + knownMs
    let why: unknown = null
    for (let left = tries; left > 0; ) {
      try {
        const told = await this.#put(snapshotId, index, bytes, checksum)
        if (told === checksum) return
        left -= 1
      } catch (error) {
        const reason = reasonOf(error) ?? ''
        const isEarly = isRefusal(error, 'ResourceNotFoundException') || reason === 'CONFLICTING_BLOCK_UPDATE'
        const mayPass = isEarly && clock.monotonic() < knownAt
        const isDamaged = isRefusal(error, 'ValidationException') && !isEarly && !final.includes(reason)
        if (!mayPass && !isDamaged) throw error
        why = error
        if (isDamaged) left -= 1
        else await clock.sleep(waitMs)
      }
    }
    throw new DroverError(
      'STREAM_FAILED',
      `block ${index} did not arrive whole at snapshot ${snapshotId}, ${tries} times; nothing of it is used`,
      { details: { snapshotId, blockIndex: index }, cause: why },
    )
  }

  /** @returns the checksum that EBS found */
  async #put(SnapshotId: string, BlockIndex: number, BlockData: Buffer, Checksum: string): Promise<string> {
    const { calls, connect, unansweredMs } = this.#parts
    const answer = await calls.make('ebs:PutSnapshotBlock', { again: true, unansweredMs }, async () =>
      (await connect()).putSnapshotBlock({
        ...{ SnapshotId, BlockIndex, BlockData, DataLength: BlockData.length, Checksum },
        ChecksumAlgorithm: 'SHA256',
      }),
    )
    // It was compared with ours there; what is told here is told once more.
    return answer.Checksum ?? Checksum
  }

  /** It becomes whole a while after. @param count of the blocks that were written @param checksum SHA256 of theirs, in base64 */
  async complete(snapshotId: string, count: number, checksum: string): Promise<void> {
    const { connect } = this.#parts
    try {
      await this.#insist('ebs:CompleteSnapshot', async () =>
        (await connect()).completeSnapshot({
          ...{ SnapshotId: snapshotId, ChangedBlocksCount: count, Checksum: checksum, ChecksumAlgorithm: 'SHA256' },
          ChecksumAggregationMethod: 'LINEAR',
        }),
      )
    } catch (error) {
      if (!(error instanceof UnansweredCall)) throw error
      await this.#confirm(snapshotId, error)
    }
  }

  /** Asked again while nothing comes. What is refused then may be so because it was done before: that is told as not answered. */
  async #insist<T>(action: string, send: () => Promise<T>): Promise<T> {
    const { calls, clock, unansweredMs } = this.#parts
    const endsAt = clock.monotonic() + unansweredMs
    for (let doubt: UnansweredCall | null = null; ; ) {
      try {
        return await calls.make(action, { again: false }, send)
      } catch (error) {
        if (!(error instanceof UnansweredCall)) throw doubt ?? error
        if (clock.monotonic() > endsAt) throw error
        doubt = error
      }
      await clock.sleep(waitMs)
    }
  }

  /** Only what is whole can be listed. */
  async #confirm(snapshotId: string, doubt: Error): Promise<void> {
    const { clock, lists } = this.#parts
    const endsAt = clock.monotonic() + settleMs
    for (;;) {
      try {
        await lists.blocks({ snapshotId, baseSnapshotId: null }).next()
        return
      } catch (error) {
        if (!isRefusal(error, 'ValidationException', 'ResourceNotFoundException')) throw error
        if (clock.monotonic() > endsAt) throw doubt
      }
      await clock.sleep(waitMs)
    }
  }
}

const asTags = (tags: Tags): Tag[] => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
