import { asDroverError } from '../domain/errors.ts'
import { isAwaited } from './findings.ts'
import type { ControlParts } from './parts.ts'
import type { Facts } from './recover-facts.ts'

/**
 * What a move that has ended brought to a host is kept there for its way back. When the store was lost, so was the return: nobody takes
 * that way any more.
 */
export const dropUnawaited = async ({ store, agent, logger }: ControlParts, facts: Facts): Promise<void> => {
  for (const [hostId, { journals }] of facts.given.answers) {
    const host = facts.host(hostId)
    for (const { side, command } of journals) {
      const { moveId, volumeId } = command
      if (host === null || side !== 'carried' || !facts.hasEndedOn(hostId, volumeId, moveId)) continue
      const move = await store.move(moveId)
      if (move !== null && (await isAwaited(store, move))) continue
      try {
        // Of a move that has ended there, it drops what was kept and does nothing else.
        await agent(host).finishTarget({ ...command, base: move?.finalSnapshot ?? '', forReturn: false })
      } catch (error) {
        const { message } = asDroverError(error)
        logger.warn({ host: host.name, move: moveId, reason: message }, 'what was kept for a way back stays for now')
      }
    }
  }
}
