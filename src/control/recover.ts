import { compareStores } from '../cluster/membership.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { HostId } from '../domain/ids.ts'
import type { Volume } from '../domain/volume.ts'
import { isoNow } from '../lib/clock.ts'
import type { Recall } from '../migrate/agent.ts'
import { nextEpoch, termOf } from '../state/epochs.ts'
import type { StoreIdentity } from '../state/store.ts'
import type { RecoverReport } from './control.ts'
import type { ControlParts } from './parts.ts'
import { Facts } from './recover-facts.ts'
import { dropUnawaited } from './recover-kept.ts'
import type { RecoveredMove } from './recover-moves.ts'
import { decideVolume, unknown, type VolumeDecision } from './recover-volume.ts'

/** A host that takes longer counts as one that does not answer. */
const patienceMs = 15_000

/** Asks every host that anybody names for all that it remembers. */
const hear = async (parts: ControlParts): Promise<Facts> => {
  const { store } = parts
  const answers = new Map<HostId, Recall>()
  const asked = new Map<HostId, Host>()
  for (let more = await store.hosts(); more.length > 0; ) {
    for (const host of more) asked.set(host.id, host)
    await Promise.all(
      more.map(async (host) => {
        const answer = await recallOf(parts, host)
        if (answer !== null) answers.set(host.id, answer)
      }),
    )
    more = [...answers.values()].flatMap(({ members }) => members).filter(({ id }) => !asked.has(id))
    more = more.filter(({ id }, index) => more.findIndex((other) => other.id === id) === index)
  }
  const [rows, moves, stones, identity, stored] = await Promise.all([
    store.volumes(),
    store.moves(),
    store.tombstones(),
    store.identity(),
    store.hosts(),
  ])
  const own = await parts.ownHost()
  const hosts = membersOf(own, identity, stored, [...answers.values()])
  const clusterId = answers.get(own.id)?.records.find(({ hostId }) => hostId === own.id)?.clusterId ?? null
  return new Facts({ clusterId, hosts, answers, rows, moves, stones })
}

const recallOf = async (parts: ControlParts, host: Host): Promise<Recall | null> => {
  const enough = new AbortController()
  const late = parts.clock.sleep(patienceMs, enough.signal).then(() => null)
  late.catch(() => undefined)
  try {
    return await Promise.race([parts.agent(host).recall({}), late])
  } catch (error) {
    parts.logger.warn({ host: host.name, reason: asDroverError(error).message }, 'recover: the host does not answer')
    return null
  } finally {
    enough.abort()
  }
}

/** As whoever has obeyed the newest store has them; this host as it is. */
const membersOf = (own: Host, store: StoreIdentity, stored: readonly Host[], answers: readonly Recall[]): Host[] => {
  let best = { store, members: stored }
  for (const { store: seen, members } of answers) {
    if (seen === null || members.length === 0) continue
    const isOther = best.store === store && seen.storeId !== store.storeId
    const isNewer = isOther || seen.commitSequence > best.store.commitSequence
    if (seen.term > best.store.term || (seen.term === best.store.term && isNewer)) best = { store: seen, members }
  }
  return [...best.members.filter(({ id }) => id !== own.id), own]
}

/** The term after every one that anybody has heard of. */
const termAfter = (facts: Facts, identity: StoreIdentity): number => {
  const answers = [...facts.given.answers.values()]
  const epochs = facts.volumeIds().map((id) => termOf(facts.highest(id)))
  return (
    1 + Math.max(identity.term, ...answers.map(({ store, table }) => Math.max(store?.term ?? 0, table.term)), ...epochs)
  )
}

/**
 * Rebuilds the store when any host has seen a newer one: a higher term, owners from the hosts' records. Nobody becomes owner by this
 * alone, nothing is destroyed; what cannot be told stays `unknown`.
 */
export const recoverStore = async (
  parts: ControlParts,
  { dryRun }: { dryRun: boolean },
  halt: () => Promise<void>,
): Promise<RecoverReport> => {
  const facts = await hear(parts)
  const identity = await parts.store.identity()
  const isBehind = [...facts.given.answers.values()].some(({ store }) => compareStores(identity, store) === 'behind')
  if (!isBehind) {
    const decisions = await settleUnknown(parts, { dryRun }, facts)
    return reportOf(facts, { needed: decisions.length > 0, dryRun, term: identity.term }, decisions)
  }
  const term = termAfter(facts, identity)
  const now = isoNow(parts.clock)
  const decided = facts.volumeIds().map((id) => decideVolume(facts, id, (above) => nextEpoch(term, above), now))
  if (dryRun) return reportOf(facts, { needed: true, dryRun, term }, withNames(facts, decided))
  await halt()
  const decisions = withNames(facts, await afterRefusals(parts, facts, decided))
  const known = new Set(facts.given.hosts.map(({ id }) => id))
  await parts.store.recover({
    term,
    ...written(facts, decisions),
    hosts: facts.given.hosts,
    forgetHosts: (await parts.store.hosts()).map(({ id }) => id).filter((id) => !known.has(id)),
  })
  await dropUnawaited(parts, facts)
  const report = reportOf(facts, { needed: true, dryRun, term }, decisions)
  await parts.emit('store.recovered', {
    term,
    volumes: report.volumes.map(({ name, outcome, host, reason }) => ({ volume: name, outcome, host, reason })),
    silent: report.silent,
  })
  return report
}

/**
 * Volumes that were left unknown, and those that a host brings back and the store does not know of, as soon as enough hosts answer.
 * @returns what was settled
 */
export const settleUnknown = async (
  parts: ControlParts,
  { dryRun }: { dryRun: boolean },
  heard?: Facts,
): Promise<VolumeDecision[]> => {
  const facts = heard ?? (await hear(parts))
  const { term } = await parts.store.identity()
  const now = isoNow(parts.clock)
  const open = facts.volumeIds().filter((id) => (facts.row(id)?.state ?? 'unknown') === 'unknown')
  const decided = open
    .map((id) => decideVolume(facts, id, (above) => nextEpoch(term, above), now))
    .filter(({ outcome }) => outcome === 'owner' || outcome === 'taken-back')
  if (dryRun || decided.length === 0) return decided
  await parts.mayWrite()
  const decisions = withNames(facts, await afterRefusals(parts, facts, decided)).filter(
    ({ outcome }) => outcome !== 'unknown',
  )
  if (decisions.length === 0) return []
  await parts.store.recover({ term: null, ...written(facts, decisions), hosts: [], forgetHosts: [] })
  for (const { name, hostId, reason } of decisions) {
    await parts.emit('volume.recovered', {
      volume: name,
      host: hostId === null ? null : facts.hostName(hostId),
      reason,
    })
  }
  return decisions
}

/** Only what the other side has durably given up is taken back. */
const afterRefusals = (
  parts: ControlParts,
  facts: Facts,
  decided: readonly VolumeDecision[],
): Promise<VolumeDecision[]> =>
  Promise.all(
    decided.map(async (decision) => {
      const { refusal } = decision
      const host = refusal === null ? null : facts.host(refusal.hostId)
      if (refusal === null || host === null) return decision
      try {
        await parts.agent(host).refuseTarget(refusal.command)
        return decision
      } catch (error) {
        return unknown(
          facts,
          decision.volumeId,
          `host ${host.name} did not give its move up: ${asDroverError(error).message}`,
        )
      }
    }),
  )

const written = (facts: Facts, decisions: readonly VolumeDecision[]) => ({
  volumes: decisions.flatMap(({ row }) => (row === null ? [] : [row])),
  moves: withLeads(
    facts,
    decisions.flatMap(({ moves }) => moves),
  ),
  forgetVolumes: decisions
    .filter(({ row, volumeId }) => row === null && facts.row(volumeId) !== null)
    .map((d) => d.volumeId),
  forgetMoves: decisions.flatMap(({ forgetMoves }) => forgetMoves),
})

/** A group goes on as one only with the row of its lead; without it each member goes on by itself. */
const withLeads = (facts: Facts, moves: readonly RecoveredMove[]): RecoveredMove[] => {
  const rows = [...facts.given.moves, ...moves.map(({ move }) => move)]
  return moves.map((recovered) => {
    const { groupId, ...alone } = recovered.move
    const hasLead = rows.some((row) => row.id === groupId && row.groupId === groupId)
    return groupId === undefined || hasLead ? recovered : { ...recovered, move: alone }
  })
}

/** Two volumes of one name: the one that the table of names has under it keeps it, else the older one. */
const withNames = (facts: Facts, decisions: readonly VolumeDecision[]): VolumeDecision[] => {
  const keeper = new Map<string, Volume>()
  const rank = (row: Volume) => `${facts.entry(row.id)?.name === row.name ? 0 : 1} ${row.createdAt} ${row.id}`
  const others = facts.given.rows.filter(({ id }) => !decisions.some(({ volumeId }) => volumeId === id))
  for (const row of others) keeper.set(row.name, row)
  for (const { row } of decisions) {
    if (row === null) continue
    const rival = keeper.get(row.name)
    if (rival === undefined || (!others.includes(rival) && rank(row) < rank(rival))) keeper.set(row.name, row)
  }
  return decisions.map((decision) => {
    const { row } = decision
    if (row === null || keeper.get(row.name)?.id === row.id) return decision
    const name = `${row.name.slice(0, 110)}.${row.id.slice(-8)}`
    return {
      ...decision,
      name,
      row: { ...row, name },
      reason: `${decision.reason}; another volume has the name ${row.name}`,
    }
  })
}

const reportOf = (
  facts: Facts,
  head: Pick<RecoverReport, 'needed' | 'dryRun' | 'term'>,
  decisions: readonly VolumeDecision[],
): RecoverReport => ({
  ...head,
  answered: facts.given.hosts.filter(({ id }) => facts.answered(id)).map(({ name }) => name),
  silent: facts.silent().map(({ name }) => name),
  volumes: decisions.map((decision) => ({
    id: decision.volumeId,
    name: decision.name,
    outcome: decision.outcome,
    host: decision.hostId === null ? null : facts.hostName(decision.hostId),
    epoch: decision.row?.epoch ?? null,
    superseded: decision.superseded.map((id) => facts.hostName(id)),
    reason: decision.reason,
  })),
})

/** @throws STORE_BEHIND naming the host that has seen a newer store */
export const behindError = (host: string): DroverError =>
  new DroverError(
    'STORE_BEHIND',
    `the state store is older than what host ${host} has seen of it; nothing is changed: run vol recover, or restore the newest copy of the state file`,
  )
