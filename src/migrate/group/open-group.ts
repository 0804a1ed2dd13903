import { DroverError } from '../../domain/errors.ts'
import type { MoveId } from '../../domain/ids.ts'
import type { MoveRecord } from '../../domain/move.ts'
import type { MoveContext, MoverParts } from '../move-context.ts'
import { defaultMovesPerHost } from '../queue/move-queue.ts'
import type { GroupContext } from './group-context.ts'

/** All moves of the group, the lead first, each with its hosts. */
export const openGroup = async (
  parts: MoverParts,
  groupId: MoveId,
  failed: AbortController,
  contextOf: (move: MoveRecord) => Promise<MoveContext>,
): Promise<GroupContext> => {
  const moves = await parts.store.moves({ groupId })
  const lead = moves.find(({ id }) => id === groupId)
  if (lead === undefined) throw new DroverError('INTERNAL', `group ${groupId} has no move of that id`)
  const others = moves.filter(({ id }) => id !== groupId).toReversed()
  return {
    parts,
    lead: { ...(await contextOf(lead)), alongside: others.map(({ volumeName }) => volumeName) },
    others: await Promise.all(others.map(contextOf)),
    stopShipping: (error) => failed.abort(error),
    shipping: parts.movesPerHost ?? defaultMovesPerHost,
    ahead: new Set(),
  }
}
