import type { Epoch } from './dataset.ts'
import type { ErrorCode } from './errors.ts'
import type { HostId, MoveId, VolumeId } from './ids.ts'
import type { Verification } from './verification.ts'

export const phases = [
  'plan',
  'precopy',
  'quiesce',
  'delta',
  'verify',
  'release',
  'commit',
  'activate',
  'retire',
] as const
export type Phase = (typeof phases)[number]

/** `committed` and later only go forward; `aborted` was undone and the source owns. */
export type MoveState = 'open' | 'verified' | 'committed' | 'active' | 'done' | 'aborted'

export interface MoveRequest {
  readonly to: string
  readonly pool?: string | undefined
  readonly quiesce: 'stop' | 'pause'
  readonly containers: 'move' | 'stop' | 'refuse'
  readonly maxDowntimeMs?: number | undefined
  /** Bytes per second. */
  readonly bwlimitBytes?: number | undefined
  /** How the stream is packed on the wire; `none` unless given. */
  readonly compress?: 'none' | 'zstd' | undefined
  /** Mount paths in containers whose bind mounts may be left behind. */
  readonly dropMounts: readonly string[]
  readonly healthTimeoutMs: number
  /** Asked by a Mount on the target: only an idle volume may be pulled. */
  readonly onlyIdle: boolean
  /** Compare S on both hosts once the writers run again. */
  readonly verify?: boolean | undefined
  /** Go on although `maxDowntimeMs` cannot be kept. */
  readonly keepGoing?: boolean | undefined
  /** Stay on the target although the containers do not become healthy there. */
  readonly noReturn?: boolean | undefined
}

/** One transfer of one snapshot. */
export interface Round {
  readonly snapshot: string
  readonly base: string | null
  readonly bytes: number
  readonly ms: number
  /** What went over the wire for it; less than `bytes` when it was packed. */
  readonly wireBytes?: number | undefined
  /** Sent again because a link broke, and how many links came after the first. */
  readonly resentBytes?: number | undefined
  readonly reconnects?: number | undefined
}

export interface MoveForecast {
  readonly bytes: number
  readonly ms: number
  readonly downtimeMs: number
}

/** How long a phase took. */
export interface PhaseTime {
  readonly phase: Phase
  readonly ms: number
}

/** The journal: the phase is recorded before it acts. */
export interface MoveRecord {
  readonly id: MoveId
  readonly volumeId: VolumeId
  readonly volumeName: string
  /** Of a move of several volumes, cut at a single point: the id of the one among them that carries the containers. */
  readonly groupId?: MoveId
  readonly sourceHostId: HostId
  readonly targetHostId: HostId
  readonly sourcePool: string
  readonly targetPool: string
  /** n, for the target. */
  readonly epoch: Epoch
  /** n + 1, for the way back. */
  readonly returnEpoch: Epoch
  readonly request: MoveRequest
  readonly state: MoveState
  readonly phase: Phase
  /** A cancel that was stored before commit; it and commit are compare-and-swaps on this row. */
  readonly cancelRequested: boolean
  readonly rounds: readonly Round[]
  readonly forecast: MoveForecast | null
  /** The final snapshot S, once taken. */
  readonly finalSnapshot: string | null
  readonly quiescedAt: string | null
  /** From the writers' stop on the source to their start on the target; null when no container was carried. */
  readonly downtimeMs: number | null
  /** The same, as it was forecast right before the writers were stopped; null while they run, and when none did. */
  readonly forecastDowntimeMs: number | null
  /** In the order in which they ended; one that was done again comes again. */
  readonly phaseTimes: readonly PhaseTime[]
  /** The move that this one takes back, because its containers did not become healthy. */
  readonly returnOf: MoveId | null
  /** The move that takes this one back. */
  readonly returnedBy: MoveId | null
  /** It is to be taken back as soon as it has ended. */
  readonly returnDue: boolean
  /** What did not stop the move but should be known: an unhealthy container, a mount left behind. */
  readonly warnings: readonly string[]
  readonly error: { readonly code: ErrorCode; readonly message: string } | null
  /** An operator said that its target is lost for good, and so it was aborted after it had committed. */
  readonly targetLost?: true
  /** The content proof that was asked for; null or absent: none, or not yet. */
  readonly verification?: Verification | null
  readonly startedAt: string
  readonly endedAt: string | null
  readonly version: number
}

/** As a move begins; also what rows lack that an older Drover wrote. */
export const atBegin = {
  state: 'open',
  phase: 'plan',
  cancelRequested: false,
  rounds: [],
  finalSnapshot: null,
  quiescedAt: null,
  downtimeMs: null,
  forecastDowntimeMs: null,
  phaseTimes: [],
  returnOf: null,
  returnedBy: null,
  returnDue: false,
  warnings: [],
  error: null,
  endedAt: null,
  version: 1,
} as const satisfies Partial<MoveRecord>

/** From one pool of a host to another of the same host. A row whose other end nobody knew any more has its source's host at both ends, and a pool is empty or the same. */
export const isWithinHost = (
  move: Pick<MoveRecord, 'sourceHostId' | 'targetHostId' | 'sourcePool' | 'targetPool'>,
): boolean =>
  move.sourceHostId === move.targetHostId &&
  move.sourcePool !== '' &&
  move.targetPool !== '' &&
  move.sourcePool !== move.targetPool

/** The containers are made on the target and removed from the source. Of a group its lead has them; within a host they stay. */
export const carriesContainers = (move: MoveRecord): boolean =>
  movesContainers(move) && !isWithinHost(move) && (move.groupId ?? move.id) === move.id

/** Within a host they are started again upon the new copy. */
export const restartsContainers = (move: MoveRecord): boolean => movesContainers(move) && isWithinHost(move)

const movesContainers = ({ request }: MoveRecord): boolean => request.containers === 'move' && !request.onlyIdle

export const isEnded = (move: MoveRecord): boolean => move.state === 'done' || move.state === 'aborted'
