import type { DatasetOptions } from '../domain/dataset-options.ts'
import type { MoveState } from '../domain/move.ts'

export interface MoveStatus {
  readonly id: string
  readonly state: MoveState
  readonly phase: string
  readonly error: string | null
  /** Where it goes, by name. */
  readonly to: string
}

/** What this room asks of the control role; daemon.ts binds it, to the role itself or over the wire. */
export interface ControlPort {
  /** @throws VOLUME_EXISTS with `details.options` of the one that exists */
  createVolume(request: {
    name: string
    pool?: string
    sizeBytes?: number
    labels?: Readonly<Record<string, string>>
    options?: DatasetOptions
  }): Promise<void>
  removeVolume(name: string): Promise<void>
  /** Pulls an idle volume to this host. @throws VOLUME_IN_USE, MOVE_UNDER_WAY with `details.move` */
  moveHere(name: string): Promise<MoveStatus>
  move(id: string): Promise<MoveStatus>
  /** The open move of the volume, if there is one. */
  openMove(name: string): Promise<MoveStatus | null>
}
