import { systemClock } from '../../../../lib/clock.ts'
import type { Logger } from '../../../../lib/logger.ts'
import type { SnapshotContent, SnapshotDraft } from '../../device.ts'
import { Calls } from '../calls.ts'
import { DirectBlocks } from './blocks.ts'
import { directBudget } from './budget.ts'
import { connectEbs } from './client.ts'
import { DraftWriter } from './draft-writer.ts'
import { ParentBlocks } from './parent-blocks.ts'
import { type PlacedPiece, piecesOfSnapshot } from './pieces.ts'
import { DirectWrites } from './writes.ts'

/** Not pino's: that looks at stdout, which then is written without waiting, and belongs to the stream. */
const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet }

/** Nothing comes for so long: who waits for the stream is told. */
const unansweredMs = 20_000

const connected = async (to: { readonly region: string; readonly endpoint: string | null }) => {
  const client = await connectEbs(to)
  const calls = new Calls(systemClock, directBudget(systemClock), quiet)
  const connect = async () => client
  return { calls, connect, blocks: new DirectBlocks(connect, calls, unansweredMs) }
}

/** For a process of its own, such as one that sends a stream. */
export const openSnapshot = async (content: SnapshotContent, sizeBytes: number): Promise<AsyncGenerator<PlacedPiece>> =>
  piecesOfSnapshot((await connected(content)).blocks, content, sizeBytes)

/** The same, for one that receives a stream. */
export const openDraft = async (draft: SnapshotDraft): Promise<DraftWriter> => {
  const { calls, connect, blocks } = await connected(draft)
  const { snapshotId } = draft
  const writes = new DirectWrites({ connect, calls, clock: systemClock, lists: blocks.lists, unansweredMs })
  const parent = draft.parent === null ? null : new ParentBlocks(blocks, draft.parent)
  return new DraftWriter(writes, snapshotId, parent)
}
