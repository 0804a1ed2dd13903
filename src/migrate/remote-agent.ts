import type { PeerClient } from '../cluster/cluster.ts'
import type { Host } from '../domain/host.ts'
import { type Agent, type AgentMethod, agentMethods } from './agent.ts'

/** What a call may take at most, in ms; a call not named here has the default. Health and stops wait on people's containers. */
const limits: Partial<Record<AgentMethod, number>> = {
  ping: 2_000,
  ownedSince: 2_000,
  holding: 10_000,
  usage: 10_000,
  setTable: 5_000,
  // Asked again and again: a link that is cut must not hold it up.
  transferStatus: 10_000,
  recall: 15_000,
  examine: 30_000,
  // It answers by itself before.
  changedBytes: 330_000,
  // A cloud may not answer for a minute and more.
  snapshot: 180_000,
  quiesce: 900_000,
  sendImage: 900_000,
  awaitHealthy: 900_000,
  runHook: 660_000,
  received: 120_000,
  prepare: 120_000,
  digestItems: 600_000,
  release: 120_000,
  activate: 120_000,
  startContainers: 180_000,
  undoSource: 180_000,
}
const defaultLimitMs = 60_000

/** The same calls, over mutual TLS to another host. @throws HOST_UNREACHABLE, which says nothing about whether it was done */
export const createRemoteAgent = (client: PeerClient, host: Pick<Host, 'id' | 'address'>): Agent => {
  const call = (method: AgentMethod) => async (args: unknown) => {
    const answer = await client.request({ address: host.address, hostId: host.id }, `/agent/${method}`, {
      method: 'POST',
      body: args,
      timeoutMs: limits[method] ?? defaultLimitMs,
    })
    return (answer.body as { result?: unknown }).result
  }
  return Object.fromEntries(agentMethods.map((method) => [method, call(method)])) as unknown as Agent
}
