import type { HostId, VolumeId } from '../domain/ids.ts'
import type { MoveRecord, Phase, Round } from '../domain/move.ts'
import type { Store } from '../state/store.ts'

/** The writers are stopped in these, the last of them until the containers were started on the target. */
export const stoppedPhases = ['quiesce', 'delta', 'verify', 'release', 'commit', 'activate'] as const
export type StoppedPhase = (typeof stoppedPhases)[number]

export const isStoppedPhase = (phase: Phase): phase is StoppedPhase =>
  (stoppedPhases as readonly Phase[]).includes(phase)

/** What a move of such writers costs them: something fixed in each phase, and the bytes that are left for the delta. */
export interface DowntimeModel {
  readonly fixedMs: Readonly<Record<StoppedPhase, number>>
  readonly msPerByte: number
  /** No move was seen to learn from. */
  readonly isAssumed?: true
}

/** What a link of this cluster carries, cautiously, before anything was measured. */
export const assumedBytesPerSecond = 150 * 2 ** 20
/** Container stop and start, commands, commit; before any move was seen. */
const assumedMs: DowntimeModel['fixedMs'] = {
  quiesce: 350,
  delta: 250,
  verify: 100,
  release: 100,
  commit: 50,
  activate: 350,
}
/** A round of less tells what any round costs, one of more what its bytes cost. */
const smallRoundBytes = 2 ** 20
const bigRoundBytes = 4 * 2 ** 20
const assumedRoundMs = 100
/** The last moves tell more about the next one than those before them. */
const remembered = 5
const enough = 2

export interface Moving {
  readonly volumeId: VolumeId
  readonly sourceHostId: HostId
  readonly targetHostId: HostId
  readonly request: Pick<MoveRecord['request'], 'quiesce' | 'bwlimitBytes'>
}

/**
 * Pure. Earlier moves of this volume tell how long its writers take to stop and start; those of the same direction are preferred,
 * other volumes' moves are better than a guess. `past`: newest first. `rounds`: of the move under way, they tell the link's speed.
 */
export const learnDowntime = (
  moving: Moving,
  past: readonly MoveRecord[],
  rounds: readonly Round[] = [],
): DowntimeModel => {
  const measured = past.filter(
    // Of a group the phases are those of all its volumes.
    ({ state, downtimeMs, request, groupId }) =>
      state === 'done' && groupId === undefined && downtimeMs !== null && request.quiesce === moving.request.quiesce,
  )
  const ofVolume = measured.filter(({ volumeId }) => volumeId === moving.volumeId)
  const sameWay = ofVolume.filter(({ targetHostId }) => targetHostId === moving.targetHostId)
  const levels = [sameWay, ofVolume, measured]
  const chosen = levels.find(({ length }) => length >= enough) ?? levels.find(({ length }) => length > 0) ?? []
  const link = past.filter(({ sourceHostId, targetHostId }) =>
    [moving.sourceHostId, moving.targetHostId].every((id) => id === sourceHostId || id === targetHostId),
  )
  const msPerByte = learnRate(rounds, link, moving.request.bwlimitBytes)
  const shares = chosen.slice(0, remembered).map((move) => sharesOf(move, msPerByte))
  const fixedMs = Object.fromEntries(
    stoppedPhases.map((phase) => [phase, median(shares.map((share) => share[phase])) ?? assumedMs[phase]]),
  ) as DowntimeModel['fixedMs']
  return chosen.length === 0 ? { fixedMs, msPerByte, isAssumed: true } : { fixedMs, msPerByte }
}

/** EC2 takes some seconds to end a snapshot, and some to make a volume of one and to attach it; before any move was seen. */
const assumedSnapshotMs = 5_000
const assumedVolumeMs = 10_000

/** By snapshots that the storage keeps nothing is sent, but it takes its time. */
export const ofSnapshots = (model: DowntimeModel): DowntimeModel => {
  if (model.isAssumed !== true) return model
  const { delta, verify } = model.fixedMs
  return {
    ...model,
    fixedMs: { ...model.fixedMs, delta: delta + assumedSnapshotMs, verify: verify + assumedVolumeMs },
  }
}

/** What there is to learn from: this volume's moves, then those of others; newest first. */
export const pastMoves = async (store: Store, volumeId: VolumeId): Promise<MoveRecord[]> => {
  const [own, all] = await Promise.all([store.moves({ volumeId, limit: 20 }), store.moves({ limit: 50 })])
  return [...own, ...all.filter((move) => move.volumeId !== volumeId)]
}

/** The whole of it, from the writers' stop on. */
export const forecastDowntimeMs = ({ fixedMs, msPerByte }: DowntimeModel, deltaBytes: number): number =>
  Math.round(sum(Object.values(fixedMs)) + deltaBytes * msPerByte)

/** What comes after a phase, once that has ended. Bytes go in delta. */
export const forecastAfterMs = (
  { fixedMs, msPerByte }: DowntimeModel,
  phase: StoppedPhase,
  deltaBytes: number,
): number => {
  const later = stoppedPhases.slice(stoppedPhases.indexOf(phase) + 1)
  return Math.round(sum(later.map((each) => fixedMs[each])) + (later.includes('delta') ? deltaBytes * msPerByte : 0))
}

/** Where the downtime of a past move went, without what its bytes cost. */
const sharesOf = (move: MoveRecord, msPerByte: number): Record<StoppedPhase, number> => {
  const spent = (phase: Phase): number =>
    sum(move.phaseTimes.filter((time) => time.phase === phase).map(({ ms }) => ms))
  const last = move.rounds.find(({ snapshot }) => snapshot === move.finalSnapshot)
  const bytesMs = (last?.bytes ?? 0) * msPerByte
  const [quiesce, delta, verify, release, commit] = [
    spent('quiesce'),
    Math.max(spent('delta') - bytesMs, 0),
    spent('verify'),
    spent('release'),
    spent('commit'),
  ]
  // Its phase goes on until health is known: what counts here ended with the start.
  const before = quiesce + spent('delta') + verify + release + commit
  return { quiesce, delta, verify, release, commit, activate: Math.max((move.downtimeMs ?? 0) - before, 0) }
}

/** This move's rounds before those of earlier moves over the same link; a limit on the rate is kept whatever was seen. */
const learnRate = (rounds: readonly Round[], link: readonly MoveRecord[], bwlimitBytes: number | undefined): number => {
  const limit = bwlimitBytes === undefined ? 0 : 1000 / bwlimitBytes
  const earlier = link
    .filter(({ request }) => request.bwlimitBytes === bwlimitBytes)
    .slice(0, remembered)
    .flatMap((move) => move.rounds)
  const roundMs =
    median([...rounds, ...earlier].filter(({ bytes }) => bytes < smallRoundBytes).map(({ ms }) => ms)) ?? assumedRoundMs
  const rates = (some: readonly Round[]) =>
    some.filter(({ bytes }) => bytes > bigRoundBytes).map(({ bytes, ms }) => Math.max(ms - roundMs, ms / 4) / bytes)
  const seen = median(rates(rounds)) ?? median(rates(earlier)) ?? 1000 / assumedBytesPerSecond
  return Math.max(seen, limit)
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)

const median = (numbers: readonly number[]): number | null => {
  const sorted = numbers.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const [low, high] = [sorted[Math.ceil(sorted.length / 2) - 1], sorted[middle]]
  return low === undefined || high === undefined ? null : (low + high) / 2
}
