import type { DatasetOptions } from '../domain/dataset-options.ts'
import type { Host } from '../domain/host.ts'
import type { MoveForecast, MoveRecord, MoveRequest } from '../domain/move.ts'
import type { PoolInfo } from '../domain/pool.ts'
import type { Verification } from '../domain/verification.ts'
import type { Volume } from '../domain/volume.ts'
import type { CloudUse } from '../migrate/cloud-use.ts'
import type { Plan } from '../migrate/plan.ts'
import type { StoredEvent } from '../state/store.ts'
import type { Holder } from '../volumes/holders.ts'
import type { DoctorReport } from './doctor.ts'
import type { Cost } from './price-file.ts'

export interface CreateVolumeRequest {
  readonly name: string
  /** Host name; default: the host that the request came through. */
  readonly host?: string | undefined
  readonly pool?: string | undefined
  readonly sizeBytes?: number | undefined
  readonly labels: Readonly<Record<string, string>>
  readonly options?: DatasetOptions | undefined
}

export interface VolumeView extends Volume {
  /** Name of the owner. */
  readonly owner: string
  readonly usedBytes: number | null
}

/** What `inspect` adds: everything that exists of the volume, on every host that answers. */
export interface VolumeDetail extends VolumeView {
  readonly mounted: boolean
  /** Containers on the owner that refer to it. */
  readonly containers: readonly { readonly name: string; readonly state: string }[]
  readonly snapshots: readonly { readonly host: string; readonly name: string; readonly createdAt: string }[]
  readonly replicas: readonly {
    readonly host: string
    readonly pool: string
    readonly role: string
    readonly base: string | null
    readonly keepUntil: string | null
  }[]
  readonly partials: readonly { readonly host: string; readonly name: string }[]
  /** Who keeps it mounted, but for the engine's containers: leaks into other mount namespaces, and what an unmount waits for. */
  readonly holders: readonly (Holder & { readonly host: string })[]
  /** Hosts that did not answer: what they hold is not in the lists above. */
  readonly unreachable: readonly string[]
  readonly move: MoveView | null
}

export interface MoveView extends MoveRecord {
  readonly from: string
  readonly to: string
  /** Of the round under way. */
  readonly progress: {
    readonly round: number
    readonly bytes: number
    readonly totalBytes: number
    readonly bytesPerSecond: number
    readonly remainingMs: number | null
  } | null
  /** How many moves wait before it for a slot on its hosts; null: it does not wait. */
  readonly queuedBehind: number | null
  /** What it waits for now: who keeps the volume busy. */
  readonly waitsFor: string | null
  readonly totalBytes: number
}

/** Without a host: to another pool of the owner's. */
export type AskedMove = Omit<MoveRequest, 'to'> & { readonly to?: string | undefined }

/** What `--dry-run` prints. */
export interface MovePlan {
  readonly volume: string
  readonly from: string
  readonly to: string
  readonly targetPool: string
  readonly strategy: Plan['strategy']
  readonly base: string | null
  readonly forecast: MoveForecast
  /** `cost`: by the operator's price file; null without one. */
  readonly cloud: (CloudUse & { readonly cost: Cost | null }) | null
  readonly containers: readonly { readonly name: string; readonly state: string }[]
  readonly freeBytesOnTarget: number
}

/** The last verification that `vol verify` asked for. */
export interface VerificationView {
  readonly volume: string
  readonly owner: string
  /** Of all replicas together: one that differs counts before one that could not be compared. */
  readonly state: 'running' | Verification['state']
  readonly startedAt: string
  readonly endedAt: string | null
  readonly replicas: readonly {
    readonly host: string
    /** What both have read; null before and after. */
    readonly progress: { readonly entries: number; readonly bytes: number } | null
    readonly result: Verification | null
  }[]
}

export interface HostView extends Host {
  readonly reachable: boolean
  readonly version: string | null
}

export interface PoolView extends PoolInfo {
  readonly host: string
  readonly volumes: number
}

/** What `vol recover` found and decided, or would. */
export interface RecoverReport {
  /** False: no host has seen a newer store than this one, and no volume is unknown. */
  readonly needed: boolean
  readonly dryRun: boolean
  readonly term: number
  readonly answered: readonly string[]
  readonly silent: readonly string[]
  readonly volumes: readonly {
    readonly id: string
    readonly name: string
    readonly outcome: 'owner' | 'taken-back' | 'unknown' | 'dropped' | 'left'
    readonly host: string | null
    readonly epoch: number | null
    readonly superseded: readonly string[]
    readonly reason: string
  }[]
}

/** The control role: what REST, `vol` and Mount ask of the cluster. Present on one host; elsewhere calls are passed on to it. */
export interface Control {
  createVolume(request: CreateVolumeRequest): Promise<VolumeView>
  volumes(): Promise<VolumeView[]>
  volume(name: string): Promise<VolumeDetail>
  /** `force`: also when stopped containers refer to it; never while it is mounted by a running one. */
  removeVolume(name: string, options: { force: boolean; ifVersion?: number | undefined }): Promise<void>
  resizeVolume(name: string, sizeBytes: number, options: { ifVersion?: number | undefined }): Promise<VolumeView>
  planMove(name: string, request: AskedMove): Promise<MovePlan>
  /** Refuses before anything is touched, or journals the move and runs it in the background. */
  startMove(name: string, request: AskedMove): Promise<MoveView>
  /** All volumes with the label that are not there yet, as `KEY=VALUE` or `KEY`; the plans in the order of names. */
  planGroup(label: string, request: MoveRequest): Promise<MovePlan[]>
  /** They move as one: cut at a single point, committed or undone together. */
  startGroup(label: string, request: MoveRequest): Promise<MoveView[]>
  moves(filter: {
    volume?: string | undefined
    group?: string | undefined
    open?: boolean | undefined
  }): Promise<MoveView[]>
  move(id: string): Promise<MoveView>
  /** @param options.targetLost of a committed move: its target is lost for good, the volume goes back */
  cancelMove(id: string, options?: { targetLost?: boolean | undefined }): Promise<MoveView>
  /** Compares owner and replicas in the background, or joins the comparison under way. */
  startVerification(name: string): Promise<VerificationView>
  verification(name: string): Promise<VerificationView>
  /** Removes replicas that were found to differ. @returns the hosts they were on */
  discardDiffering(name: string): Promise<string[]>
  hosts(): Promise<HostView[]>
  removeHost(name: string): Promise<void>
  pools(): Promise<PoolView[]>
  /** A line for the second host to run: `vol join ADDR:PORT --token TOKEN`. */
  issueToken(ttlMs: number): Promise<{ token: string; command: string; expiresAt: string }>
  /** Rebuilds the store from the hosts' records, when a host has seen a newer one; `dryRun`: says only what that would be. */
  recover(options: { dryRun: boolean }): Promise<RecoverReport>
  /** Looks at every host for what is left over or not as it should be; `fix`: does what is provably Drover's to do. */
  doctor(options: { fix: boolean }): Promise<DoctorReport>
  events(after: number, limit: number): Promise<StoredEvent[]>
  lastEventSequence(): Promise<number>
  /** Calls back on every new event; returns the way to stop. */
  onEvent(listener: (event: StoredEvent) => void): () => void
}
