import { asDroverError, DroverError } from '../domain/errors.ts'
import type { HooksConfig } from '../lib/config.ts'
import { runGroup } from '../lib/run-group.ts'
import type { HookCall } from './agent.ts'

/** The programs that this host's operator has named, to be run around a move. */
export interface Hooks {
  /** @returns whether there is such a program @throws HOOK_FAILED, the signal's reason */
  run(call: HookCall, signal: AbortSignal): Promise<boolean>
}

export const noHooks: Hooks = { run: async () => false }

export const createHooks = (
  { beforeQuiesce, afterActivate, timeoutMs }: HooksConfig,
  hostName: () => string,
): Hooks => ({
  async run(call, signal) {
    const program = call.hook === 'before_quiesce' ? beforeQuiesce : afterActivate
    if (program === null) return false
    const env = {
      DROVER_HOOK: call.hook,
      DROVER_PHASE: call.hook === 'before_quiesce' ? 'quiesce' : 'activate',
      DROVER_VOLUME: call.volumeName,
      DROVER_MOVE: call.moveId,
      DROVER_SOURCE: call.source,
      DROVER_TARGET: call.target,
    }
    const problem = await runGroup([program], { env, timeoutMs, signal }).catch((error) => {
      if (signal.aborted) throw error
      return asDroverError(error).message
    })
    if (problem === null) return true
    throw new DroverError(
      'HOOK_FAILED',
      `hook ${call.hook} (${program}) on host ${hostName()} failed for volume ${call.volumeName}: ${problem}`,
      { details: { hook: call.hook, program, host: hostName() } },
    )
  },
})
