import type { Epoch } from './dataset.ts'
import type { HostId, MoveId, VolumeId } from './ids.ts'

/** A row of the store. `version` grows with every write and is what compare-and-swap compares. */
export interface Volume {
  readonly id: VolumeId
  readonly name: string
  /** `unknown`: recover could not tell who owns it; nothing touches it. */
  readonly state: 'creating' | 'ready' | 'deleting' | 'unknown'
  readonly ownerHostId: HostId
  readonly pool: string
  readonly epoch: Epoch
  /** Highest epoch ever reserved: reserved numbers are never used again. */
  readonly reservedEpoch: Epoch
  readonly openMoveId: MoveId | null
  readonly sizeBytes: number | null
  readonly labels: Readonly<Record<string, string>>
  /** Options as the creator gave them: a second create with others is a conflict. */
  readonly options: Readonly<Record<string, string>>
  readonly createdAt: string
  readonly version: number
}
