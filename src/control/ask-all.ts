import { hasCode } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { Agent } from '../migrate/agent.ts'
import type { ControlParts } from './parts.ts'

/** What each host says; null for those that do not answer in time. */
export const askAll = async <T>(
  { store, agent }: Pick<ControlParts, 'store' | 'agent'>,
  ask: (agent: Agent, host: Host) => Promise<T>,
): Promise<Map<Host, T | null>> => {
  const hosts = await store.hosts()
  const answers = await Promise.all(
    hosts.map(async (host): Promise<[Host, T | null]> => {
      try {
        return [host, await ask(agent(host), host)]
      } catch (error) {
        if (!hasCode(error, 'HOST_UNREACHABLE', 'TIMED_OUT')) throw error
        return [host, null]
      }
    }),
  )
  return new Map(answers)
}
