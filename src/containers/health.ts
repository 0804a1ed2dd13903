import type { Clock } from '../lib/clock.ts'
import { type DockerClient, orNull, quickMs } from './docker-client.ts'
import { inspectContainer } from './uses.ts'
import type { WireContainer } from './wire.ts'

const pollMs = 75
/** Without a health check a container is well when it has run this long without a restart. */
const steadyMs = 2_000
const outputChars = 300

/** See ContainerRuntime.awaitHealthy. */
export const awaitHealthy = async (
  { client, clock }: { client: DockerClient; clock: Clock },
  id: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<string | null> => {
  const until = clock.monotonic() + timeoutMs
  let steady = { startedAt: '', since: 0 }
  for (;;) {
    const inspected = await orNull(inspectContainer(client, id, quickMs, signal))
    if (inspected === null) return 'it ended and was removed (--rm)'
    const now = clock.monotonic()
    const { State: state } = inspected
    if (isOver(inspected)) return ended(inspected)
    if (!state.Running || state.Restarting) steady = { startedAt: '', since: now }
    else if (state.StartedAt !== steady.startedAt) steady = { startedAt: state.StartedAt, since: now }
    if (state.Health == null || state.Health.Status === 'none') {
      if (steady.startedAt !== '' && now - steady.since >= steadyMs) return null
    } else if (state.Health.Status === 'healthy' && state.Running) return null
    if (now >= until) return late(inspected, timeoutMs)
    await clock.sleep(pollMs, signal)
  }
}

/** Ended, and nobody will start it again. */
const isOver = ({ State: state, HostConfig: host }: WireContainer): boolean =>
  ['exited', 'dead'].includes(state.Status) && ['', 'no'].includes(host.RestartPolicy?.Name ?? '')

const ended = ({ State: state }: WireContainer): string =>
  `it ended with exit status ${state.ExitCode}${state.Error ? `: ${oneLine(state.Error)}` : ''}`

const late = (inspected: WireContainer, timeoutMs: number): string => {
  const { State: state } = inspected
  const seconds = Math.round(timeoutMs / 100) / 10
  if (!state.Running || state.Restarting) return `it is ${state.Status} after ${seconds} s; ${ended(inspected)}`
  const last = state.Health?.Log?.at(-1)
  if (state.Health == null) return `it did not run for ${steadyMs / 1000} s without a restart within ${seconds} s`
  return `its health is ${state.Health.Status} after ${seconds} s${last === undefined ? '; the check has not ended once' : `; last check: exit status ${last.ExitCode}, ${oneLine(last.Output) || 'no output'}`}`
}

const oneLine = (text: string): string => text.trim().replace(/\s+/g, ' ').slice(-outputChars)
