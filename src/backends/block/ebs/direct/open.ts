import { systemClock } from '../../../../lib/clock.ts'
import type { Logger } from '../../../../lib/logger.ts'
import type { SnapshotContent } from '../../device.ts'
import { Calls } from '../calls.ts'
import { DirectBlocks } from './blocks.ts'
import { directBudget } from './budget.ts'
import { connectEbs } from './client.ts'
import { type PlacedPiece, piecesOfSnapshot } from './pieces.ts'

/** Not pino's: that looks at stdout, which then is written without waiting, and belongs to the stream. */
const quiet: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {}, child: () => quiet }

/** For a process of its own, such as one that sends a stream. */
export const openSnapshot = async (
  content: SnapshotContent,
  sizeBytes: number,
): Promise<AsyncGenerator<PlacedPiece>> => {
  const client = await connectEbs(content)
  const calls = new Calls(systemClock, directBudget(systemClock), quiet)
  return piecesOfSnapshot(new DirectBlocks(async () => client, calls), content, sizeBytes)
}
