import type { DatasetRecord } from '../domain/dataset.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { MoveRecord } from '../domain/move.ts'
import { isoNow } from '../lib/clock.ts'
import type { MoveContext } from './move-context.ts'

/** It did not answer. That says nothing about whether it did what it was told. */
export const isSilence = (error: unknown): boolean =>
  hasCode(error, 'HOST_UNREACHABLE', 'DAEMON_UNREACHABLE', 'CONTROL_UNREACHABLE', 'TIMED_OUT')

/** The source let go of it in this very move, and by the unchanged proof its copy is what was committed. */
export const checkWholeOnSource = (move: MoveRecord, source: string, record: DatasetRecord | null): void => {
  if (record?.role === 'released' && record.moveId === move.id && record.snapshot === move.finalSnapshot) return
  throw new DroverError(
    'DIVERGED',
    `host ${source} does not hold volume ${move.volumeName} as move ${move.id} left it (${record === null ? 'it has none' : `it is ${record.role}`}); nothing was taken back`,
  )
}

/**
 * An operator has said that the target is lost for good, and it has just not answered again: nothing is on its way to it any more. The
 * store gives the volume back at n + 1, as if the target had refused.
 */
export const takeBack = async (context: MoveContext): Promise<null> => {
  const { parts, move, source, sourceHost, targetHost } = context
  const held = await source.holding({ volumeId: move.volumeId, pool: context.command.sourcePool })
  checkWholeOnSource(move, sourceHost.name, held?.record ?? null)
  const message = `host ${targetHost.name} is lost for good, an operator says; volume ${move.volumeName} went back to host ${sourceHost.name} as it was when its writers stopped`
  parts.logger.warn({ move: move.id, volume: move.volumeName, target: targetHost.name }, message)
  await parts.mayWrite()
  context.move = await parts.store.returnMove(move.id, { code: 'HOST_UNREACHABLE', message }, isoNow(parts.clock), {
    targetLost: true,
  })
  parts.reconcileSoon()
  parts.publish()
  return null
}
