import { randomBytes } from 'node:crypto'
import type { Disks } from './disks.ts'
import type { Faults } from './faults.ts'
import type { Versioned } from './versioned.ts'
import { Ec2Error } from './wire.ts'

export type Tags = Readonly<Record<string, string>>

export interface Attachment {
  readonly instanceId: string
  readonly device: string
  readonly state: 'attaching' | 'attached' | 'detaching' | 'busy'
}

export interface Volume {
  readonly id: string
  readonly state: 'creating' | 'available' | 'in-use' | 'deleting'
  readonly zone: string
  /** In the server's GiB (see `unitBytes`). */
  readonly size: number
  readonly type: string
  readonly iops: number
  readonly throughput: number | null
  readonly kmsKeyId: string | null
  readonly snapshotId: string | null
  /** Shared by a volume, its snapshots, and the volumes made of those. */
  readonly lineage: string
  readonly tags: Tags
  readonly attachment: Attachment | null
  readonly createdAt: string
  /** Of the world's clock; null: never. */
  readonly modifiedAt: number | null
}

export interface Snapshot {
  readonly id: string
  readonly volumeId: string
  readonly state: 'pending' | 'completed' | 'error'
  readonly size: number
  readonly ownerId: string
  readonly lineage: string
  /** Of what was copied from another region. */
  readonly copiedLineage?: string
  readonly tags: Tags
  readonly startedAt: string
}

/** A snapshot that is being written by the direct API. */
export interface Writing {
  /** Checksums of the blocks that were written. */
  readonly written: Map<number, Buffer>
  /** Blocks that are being written at this moment. */
  readonly busy: Set<number>
  readonly timeoutMs: number
  /** When something was written last. */
  touchedAt: number
  isCompleting: boolean
}

/** Milliseconds that things take. */
export interface Times {
  readonly create: number
  readonly attach: number
  readonly detach: number
  readonly delete: number
  readonly snapshot: number
  /** Of each MiB that differs from the snapshot before, more. */
  readonly snapshotMib: number
  readonly modify: number
  /** The most that a describe lags behind. */
  readonly lag: number
  /** After which tokens of the direct API expire: those of blocks, and those of pages. */
  readonly blockToken: number
  readonly pageToken: number
  /** What the direct API calls a minute. */
  readonly minute: number
}

/** One region. */
export interface World {
  readonly region: string
  /** All of them, this one too. */
  readonly regions: ReadonlyMap<string, World>
  readonly account: string
  readonly zones: readonly string[]
  /** Instances and their zones. */
  readonly instances: Map<string, string>
  readonly volumes: Versioned<Volume>
  readonly snapshots: Versioned<Snapshot>
  /** Client tokens of CreateVolume: what was asked, and what came of it. */
  readonly tokens: Map<string, { request: string; volumeId: string }>
  /** The same of StartSnapshot. */
  readonly startTokens: Map<string, { request: string; snapshotId: string }>
  readonly writings: Map<string, Writing>
  readonly times: Times
  /** Bytes of what the server calls a GiB: a model to scale, so that suites need not fill real ones. */
  readonly unitBytes: number
  readonly quotas: { readonly storage: number; readonly attachments: number; readonly blocksAPage: number }
  readonly disks: Disks
  readonly faults: Faults
  /** Volumes whose next detach never ends by itself. */
  readonly stuck: Set<string>
  now(): number
  /** Between 0 and 1. */
  random(): number
  later(ms: number, work: () => void | Promise<void>): void
}

export const newId = (kind: 'vol' | 'snap'): string => `${kind}-${randomBytes(9).toString('hex').slice(1)}`

/** When a describe that is asked now was last brought up to date. */
export const lagging = (world: World): number =>
  world.now() - world.random() * world.times.lag - (world.faults.random?.staleMs() ?? 0)

/** How long it takes this time. */
export const taking = (world: World, what: 'create' | 'attach' | 'detach' | 'snapshot'): number =>
  world.times[what] + (world.faults.random?.slowMs(what) ?? 0)

export const mustVolume = (world: World, id: string): Volume => {
  checkId('vol', id)
  const found = world.volumes.get(id)
  if (found !== null) return found
  throw new Ec2Error('InvalidVolume.NotFound', `The volume '${id}' does not exist.`)
}

export const mustSnapshot = (world: World, id: string): Snapshot => {
  checkId('snap', id)
  const found = world.snapshots.get(id)
  if (found !== null && found.ownerId === world.account) return found
  throw new Ec2Error('InvalidSnapshot.NotFound', `The snapshot '${id}' does not exist.`)
}

export const checkId = (kind: 'vol' | 'snap', id: string): void => {
  if (new RegExp(`^${kind}-[0-9a-f]{17}$`).test(id)) return
  const what = kind === 'vol' ? 'volume' : 'snapshot'
  throw new Ec2Error('InvalidParameterValue', `Value (${id}) for parameter ${what}Id is invalid.`)
}

/** Of what has an attachment, what it has by now; nothing when it was detached or deleted meanwhile. */
export const change = (world: World, id: string, how: (volume: Volume) => Volume | null): void => {
  const volume = world.volumes.get(id)
  if (volume !== null) world.volumes.put(id, how(volume))
}
