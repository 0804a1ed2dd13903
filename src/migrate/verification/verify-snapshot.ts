import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { Difference, Verification } from '../../domain/verification.ts'
import { type Clock, isoNow } from '../../lib/clock.ts'
import { algorithm } from '../../lib/tree-digest/chunks.ts'
import type { Agent } from '../agent.ts'
import { differencesOf, type Listing } from './compare.ts'
import type { ChunkMark, DigestStatus } from './tree-digests.ts'

/** One of the two hosts that hold the snapshot. */
export interface Side {
  readonly host: string
  readonly agent: Pick<Agent, 'digestSnapshot' | 'digestChunks' | 'digestItems' | 'endDigest'>
  /** Its name there. */
  readonly snapshot: string
}

export interface VerifyArgs {
  /** Names the progress on both hosts: called again with the same, it goes on. */
  readonly verificationId: string
  readonly volumeId: VolumeId
  /** The owner's first. */
  readonly sides: readonly [Side, Side]
  readonly clock: Clock
  readonly signal: AbortSignal
  readonly onProgress?: (statuses: readonly [DigestStatus, DigestStatus]) => void
}

const waitMs = 1_000
/** A process that read the snapshot and died is started again that often; each begins where the last one was. */
const maxDeaths = 5
const shownDifferences = 10
const marksAtOnce = 2_000

/**
 * Reads the snapshot on both hosts and compares. What was read is kept on each host until `endVerification`.
 * @throws HOST_UNREACHABLE, TIMED_OUT: to be called again; DATASET_MISSING, COMMAND_FAILED: it cannot be read
 */
export const verifySnapshot = async (args: VerifyArgs): Promise<Verification> => {
  const [one, other] = await bothDone(args)
  const [first, second] = args.sides
  const unreadable = [
    ...one.unreadable.map((path) => ({ path, what: `cannot be read on ${first.host}` })),
    ...other.unreadable.map((path) => ({ path, what: `cannot be read on ${second.host}` })),
  ]
  const isEqual = one.digest === other.digest && unreadable.length === 0
  const unlike = one.digest === other.digest ? [] : await firstDifferences(args)
  return {
    state: isEqual ? 'equal' : 'differs',
    snapshot: first.snapshot,
    algorithm,
    digests: { [first.host]: one.digest ?? '', [second.host]: other.digest ?? '' },
    entries: one.entries,
    bytes: one.bytes,
    differences: [...unlike, ...unreadable].slice(0, shownDifferences),
    reason: null,
    at: isoNow(args.clock),
  }
}

/** Forgets on both hosts what was read. */
export const endVerification = async ({ sides, verificationId }: VerifyArgs): Promise<void> => {
  await Promise.all(sides.map(({ agent }) => agent.endDigest({ verificationId })))
}

const bothDone = async ({ sides, signal, onProgress, ...task }: VerifyArgs): Promise<[DigestStatus, DigestStatus]> => {
  const { verificationId, volumeId } = task
  for (let deaths = 0; ; ) {
    signal.throwIfAborted()
    const ask = ({ agent, snapshot }: Side) => agent.digestSnapshot({ verificationId, volumeId, snapshot, waitMs })
    const [one, other] = await Promise.all([ask(sides[0]), ask(sides[1])])
    onProgress?.([one, other])
    const failures = [one, other].map(({ error }) => error).filter((error) => error !== null)
    for (const { code, message } of failures) {
      deaths += 1
      if (code !== 'COMMAND_FAILED' || deaths > maxDeaths) throw new DroverError(code, message)
    }
    if (one.state === 'done' && other.state === 'done') return [one, other]
  }
}

/** Up to the first chunk that differs both walks went alike: both lists of its names start at the same place. */
const firstDifferences = async (args: VerifyArgs): Promise<Difference[]> => {
  const { sides, verificationId, volumeId } = args
  for (let from = 0; ; from += marksAtOnce) {
    const marks = await Promise.all(
      sides.map(({ agent }) => agent.digestChunks({ verificationId, from, limit: marksAtOnce + 1 })),
    )
    const [mine = [], theirs = []] = marks
    const at = mine.findIndex(({ digest }, index) => digest !== theirs[index]?.digest)
    const index = at === -1 ? Math.min(mine.length, theirs.length) : at
    const start = mine[index] ?? theirs[index]
    if (index >= marksAtOnce) continue
    if (start === undefined) return []
    const listings = await Promise.all(
      sides.map(({ agent, host, snapshot }, side) => {
        const all = marks[side] ?? []
        return list(host, all, index, () => agent.digestItems({ verificationId, volumeId, snapshot, start }))
      }),
    )
    const [one, other] = listings
    return one === undefined || other === undefined ? [] : differencesOf(one, other)
  }
}

const list = async (
  host: string,
  marks: readonly ChunkMark[],
  index: number,
  read: () => Promise<Listing['items']>,
): Promise<Listing> => ({
  host,
  items: index < marks.length ? await read() : [],
  isEnd: index + 1 >= marks.length,
})
