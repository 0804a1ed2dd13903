import { asDroverError, hasCode } from '../../domain/errors.ts'
import type { MoveRecord } from '../../domain/move.ts'
import type { Verification } from '../../domain/verification.ts'
import { isoNow } from '../../lib/clock.ts'
import { algorithm } from '../../lib/tree-digest/chunks.ts'
import { eventData, journal, type MoveContext } from '../move-context.ts'
import { endVerification, type VerifyArgs, verifySnapshot } from './verify-snapshot.ts'

/**
 * `vol move --verify`: S on source and target, when the writers run again and both copies are what they will be. Whatever it finds,
 * the move is not undone: the receipt is journaled, and a copy that differs is kept. Done again after any crash it goes on.
 */
export const proveContent = async (context: MoveContext, snapshot: string): Promise<void> => {
  const { command, parts, sourceHost, targetHost, source, target } = context
  const args: VerifyArgs = {
    verificationId: command.moveId,
    volumeId: command.volumeId,
    sides: [
      { host: targetHost.name, agent: target, snapshot },
      { host: sourceHost.name, agent: source, snapshot },
    ],
    clock: parts.clock,
    signal: context.signal,
  }
  if (context.move.verification == null) {
    const verification = await verifySnapshot(args).catch((error: unknown) => failed(context, snapshot, error))
    if (verification.state !== 'failed') {
      const note = { volumeId: command.volumeId, snapshot, differs: verification.state === 'differs' }
      await Promise.all([source.noteContent(note), target.noteContent(note)])
    }
    await journal(context, { verification, ...outcome(context, verification) })
    const { state, entries, bytes, digests, differences } = verification
    await parts.emit('move.verified', eventData(context, { state, snapshot, entries, bytes, digests, differences }))
  }
  await endVerification(args)
}

const failed = (context: MoveContext, snapshot: string, error: unknown): Verification => {
  // Who does not answer now is asked again.
  if (context.signal.aborted || hasCode(error, 'HOST_UNREACHABLE', 'TIMED_OUT')) throw error
  return {
    state: 'failed',
    snapshot,
    algorithm,
    digests: {},
    entries: 0,
    bytes: 0,
    differences: [],
    reason: asDroverError(error).message,
    at: isoNow(context.parts.clock),
  }
}

const outcome = (context: MoveContext, verification: Verification): Pick<MoveRecord, 'error'> | object => {
  const { volumeName } = context.command
  const [from, to] = [context.sourceHost.name, context.targetHost.name]
  if (verification.state === 'differs')
    return { error: { code: 'CONTENT_DIFFERS', message: unlike(volumeName, from, to, verification) } }
  if (verification.state === 'equal') return {}
  const message = `volume ${volumeName} is on host ${to}, but its content could not be compared with host ${from}: ${verification.reason}; try vol verify ${volumeName}`
  return { error: { code: 'COMMAND_FAILED', message } }
}

const unlike = (volume: string, from: string, to: string, { snapshot, differences }: Verification): string => {
  const [first] = differences
  const more = differences.length > 1 ? ` and ${differences.length - 1} more` : ''
  const where = first === undefined ? '' : `, first ${first.path} (${first.what})${more}`
  return `volume ${volume} is on host ${to}, but snapshot ${snapshot} is not the same there as on host ${from}${where}; both copies are kept, see docs/operations.md`
}
