import { asDroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { MoveRecord } from '../domain/move.ts'
import { commandOf } from '../migrate/move-context.ts'
import { type Finding, type Fixable, findingsOf } from './findings.ts'
import type { ControlParts } from './parts.ts'

export interface DoctorReport {
  /** What is still there: with `fix`, what could not or must not be done by Drover. */
  readonly findings: readonly (Finding & { readonly problem: string | null })[]
  readonly fixed: readonly Finding[]
}

/** Looks at every host, says what is not as it should be, and with `fix` does what is provably Drover's to do. */
export const examineCluster = async (parts: ControlParts, { fix }: { fix: boolean }): Promise<DoctorReport> => {
  const hosts = await parts.store.hosts()
  const found: { host: Host | null; finding: Fixable }[] = (
    await Promise.all(hosts.map((host) => ofHost(parts, host)))
  ).flat()
  for (const { name, state } of await parts.store.volumes()) {
    if (state !== 'unknown') continue
    found.push({ host: null, finding: { ...unknownVolume(name), fix: null } })
  }
  for (const host of parts.publisher.behindOf) {
    const what = `the state store is older than what host ${host} has seen of it`
    found.push({ host: null, finding: { kind: 'store', host, what, action: null, advice: 'vol recover', fix: null } })
  }
  const left: DoctorReport['findings'][number][] = []
  const fixed: Finding[] = []
  for (const { host, finding } of found) {
    const { fix: how, ...shown } = finding
    const problem = fix && how !== null && host !== null ? await mend(parts, host, how) : null
    if (fix && how !== null && problem === null) fixed.push(shown)
    else left.push({ ...shown, problem })
  }
  if (fixed.length > 0)
    await parts.emit('doctor.fixed', { findings: fixed.map(({ kind, host, what }) => ({ kind, host, what })) })
  return { findings: left, fixed }
}

const unknownVolume = (name: string): Finding => ({
  ...{ kind: 'unknown', host: null, what: `who owns volume ${name} is not known`, action: null },
  advice: 'start its host; if that is gone for good, vol rm --force forgets the name',
})

const ofHost = async (parts: ControlParts, host: Host): Promise<{ host: Host; finding: Fixable }[]> => {
  const agent = parts.agent(host)
  try {
    const from = parts.clock.now()
    const [recall, seen] = await Promise.all([agent.recall({}), agent.examine({})])
    return (await findingsOf(parts.store, host, seen, recall, { from, to: parts.clock.now() }, parts.isVerified)).map(
      (finding) => ({
        host,
        finding,
      }),
    )
  } catch (error) {
    const { message, details } = asDroverError(error)
    if (details.reason === 'expired') {
      const advice = 'vol token, and the line that it prints on that host: it stays who it is, with its volumes'
      const what = `the certificate of host ${host.name} has ended, nobody talks to it any more`
      return [{ host, finding: { ...{ kind: 'certificate', host: host.name, what, action: null, advice }, fix: null } }]
    }
    const what = `host ${host.name} cannot be looked at: ${message}`
    return [{ host, finding: { kind: 'host', host: host.name, what, action: null, advice: 'start it', fix: null } }]
  }
}

/** Null, or why it was not done. */
const mend = async (parts: ControlParts, host: Host, how: NonNullable<Fixable['fix']>): Promise<string | null> => {
  try {
    await parts.mayWrite()
    if (how === 'certificate') await parts.renewCertificate(host)
    else if ('carriedFor' in how) await dropCarried(parts, host, how.carriedFor)
    else await parts.agent(host).tidy(how)
    return null
  } catch (error) {
    return asDroverError(error).message
  }
}

const dropCarried = async ({ agent }: ControlParts, host: Host, move: MoveRecord): Promise<void> => {
  const base = move.finalSnapshot
  if (base !== null) await agent(host).finishTarget({ ...commandOf(move), base, forReturn: false })
}
