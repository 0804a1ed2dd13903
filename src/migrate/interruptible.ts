import { type Agent, agentMethods } from './agent.ts'

/**
 * The agent's calls, each given up as soon as the signal is aborted: that says nothing about whether it was done, as with a host that
 * does not answer. Nothing new is begun after that.
 * @throws the signal's reason
 */
export const interruptible = (agent: Agent, signal: AbortSignal): Agent => {
  const methods = agentMethods.map((name) => {
    const call = agent[name] as (args: unknown) => Promise<unknown>
    return [name, (args: unknown) => givenUpAt(signal, () => call(args))]
  })
  return Object.fromEntries(methods) as unknown as Agent
}

const givenUpAt = async <T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
  signal.throwIfAborted()
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort, { once: true })
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}
