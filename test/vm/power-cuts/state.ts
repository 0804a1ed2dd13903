import type { DatasetRecord, SnapshotRecord } from '../../../src/domain/dataset.ts'

/** What had been acknowledged when the power failed, as the guest told it: the machine gives it to the next one. */
export interface State {
  readonly source: DatasetRecord
  readonly target: DatasetRecord
  readonly sent: SnapshotRecord
  /** Null: nothing has arrived yet. */
  readonly received: SnapshotRecord | null
  readonly digest: string
}

export const steps = ['receive', 'finish', 'settle'] as const
export type Step = (typeof steps)[number]

/** Of the line by which the guest says that now is the time. */
export const mark = 'acknowledged: '
