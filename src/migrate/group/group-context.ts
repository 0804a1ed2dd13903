import type { MoveRecord } from '../../domain/move.ts'
import type { GroupPart } from '../agent.ts'
import type { MoveContext, MoverParts } from '../move-context.ts'

/** The moves of one group under way: same source, same target, each its own volume. */
export interface GroupContext {
  readonly parts: MoverParts
  /** Carries the containers of all: activated first, its writers put back last. */
  readonly lead: MoveContext
  readonly others: readonly MoveContext[]
  /** Ends what the members ship: one of them has failed, and the moves will be undone. */
  stopShipping(error: unknown): void
  /** How many of them ship at once before the writers are stopped. */
  readonly shipping: number
  /** Members that the control role, before it was started again, had brought further than the others. */
  ahead: ReadonlySet<MoveContext>
}

/** The lead first. */
export const membersOf = ({ lead, others }: GroupContext): readonly [MoveContext, ...MoveContext[]] => [lead, ...others]

export const groupPartOf = (group: GroupContext): GroupPart => ({
  leadId: group.lead.move.id,
  members: membersOf(group).map(({ command }) => command),
})

/**
 * The same for each of them at once. Resolves or rejects when all have come to their end: whoever undoes the moves meets no step
 * under way. @throws what failed first
 */
export const each = async <T>(
  group: GroupContext,
  contexts: readonly MoveContext[],
  work: (context: MoveContext) => Promise<T>,
): Promise<T[]> => {
  const failures: unknown[] = []
  const settled = await Promise.allSettled(
    contexts.map((context) =>
      work(context).catch((error) => {
        failures.push(error)
        group.stopShipping(error)
        throw error
      }),
    ),
  )
  if (failures.length > 0) throw failures[0]
  return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
}

export const isCommitted = ({ state }: MoveRecord): boolean => ['committed', 'active', 'done'].includes(state)
