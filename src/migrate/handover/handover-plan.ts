import { DroverError } from '../../domain/errors.ts'
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
  ]).then(([observed, report]) => {
    context.handoverPlace = report.handoverPlace
    return canHandOver(observed, report, move.request)
  })
  return context.handsOver
}

/**
 * Nothing was sent while the writers ran: the volume was to be handed over, which another runner, asking anew, has found to be so no more. They would
 * stand still while all of it is copied. @throws MOVE_FAILED
 */
export const refuseLateCopy = ({ move, sourceHost, targetHost }: MoveContext): void => {
  if (move.rounds.length > 0 || move.forecastDowntimeMs === null) return
  throw new DroverError(
    'MOVE_FAILED',
    `volume ${move.volumeName} was to be handed over, and hosts ${sourceHost.name} and ${targetHost.name} do not reach the same disks any more; move it again, which copies it while its writers run`,
  )
}
