import { DroverError } from '../domain/errors.ts'
import type { MoveRecord } from '../domain/move.ts'
import { checkWholeOnSource } from '../migrate/take-back.ts'
import type { ControlParts } from './parts.ts'

/**
 * An operator says that the target of a committed move is lost for good. His word counts only for a target that is silent, and while the
 * source has all that was committed; whether the target took the volume before it was lost nobody can know but him.
 * @throws BAD_REQUEST, DIVERGED, HOST_UNREACHABLE of the source
 */
export const checkLostTarget = async (parts: ControlParts, move: MoveRecord): Promise<void> => {
  const [source, target] = await Promise.all([parts.hostById(move.sourceHostId), parts.hostById(move.targetHostId)])
  if (move.groupId !== undefined) {
    throw new DroverError(
      'BAD_REQUEST',
      `move ${move.id} is of a group, which is not taken back from a lost target; the data is whole on host ${source.name}`,
    )
  }
  const answer = await parts
    .agent(target)
    .ping({})
    .catch(() => null)
  if (answer !== null) {
    throw new DroverError('BAD_REQUEST', `host ${target.name} answers, it is not lost; move ${move.id} goes on`)
  }
  const held = await parts.agent(source).holding({ volumeId: move.volumeId, pool: move.sourcePool })
  checkWholeOnSource(move, source.name, held?.record ?? null)
  await parts.mayWrite()
}
