import { asDroverError, hasCode } from '../domain/errors.ts'
import { unlessAborted } from '../lib/deadline.ts'
import { journal, type MoveContext } from './move-context.ts'

/**
 * Bytes changed since the snapshot. Null: that is not known, as a cloud took too long over it, or the host did not answer; the move says so, once, and goes on
 * as if all of the volume had changed. It fails for what it needs, not for an estimate. A cancel does not wait for it.
 */
export const changedSince = async (context: MoveContext, snapshot: string): Promise<number | null> => {
  const { source, command, signal } = context
  try {
    const bytes = await unlessAborted(signal, source.changedBytes({ ...command, snapshot }))
    if (bytes === null) await tell(context, 'the storage took too long over it')
    return bytes
  } catch (error) {
    signal.throwIfAborted()
    if (!hasCode(error, 'TIMED_OUT', 'STREAM_FAILED', 'HOST_UNREACHABLE')) throw error
    await tell(context, asDroverError(error).message)
    return null
  }
}

const tell = async (context: MoveContext, why: string): Promise<void> => {
  const { warnings } = context.move
  const text = `how much of volume ${context.command.volumeName} changed between two rounds was not known`
  if (warnings.some((each) => each.startsWith(text))) return
  await journal(context, { warnings: [...warnings, `${text}: ${why}`] })
}
