import type { MoveRequest } from '../../domain/move.ts'
import type { SourceObservation, TargetReport } from '../agent.ts'
import type { MoveContext } from '../move-context.ts'

/**
 * Both pools reach the same storage, so that the volume itself can go. Not when two copies are to be compared after it, and not with a person's snapshots,
 * which would stay behind.
 */
export const canHandOver = (
  source: Pick<SourceObservation, 'handover' | 'record'>,
  target: Pick<TargetReport, 'handover'>,
  request: Pick<MoveRequest, 'verify'>,
): boolean =>
  source.handover !== undefined &&
  source.handover === target.handover &&
  request.verify !== true &&
  source.record.snapshots.every(({ origin }) => origin === 'move')

/** Known as soon as it was asked; volumes of a group are copied, for they are released together. */
export const handsOver = async (context: MoveContext): Promise<boolean> => {
  const { source, target, command, move } = context
  if (move.groupId !== undefined) return false
  context.handsOver ??= await Promise.all([
    source.observe(command),
    target.checkTarget({ volumeId: command.volumeId, pool: move.targetPool, specs: [], dropMounts: [] }),
  ]).then(([observed, report]) => canHandOver(observed, report, move.request))
  return context.handsOver
}
