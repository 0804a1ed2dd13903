import { type VolumeFileSystem, volumeFileSystems } from '../device.ts'
import type { SnapshotPlace } from './cloud.ts'

/** What EC2 knows a snapshot by, and for which device of which pool it was made. */
export interface ToldSnapshot extends SnapshotPlace {
  readonly device: string
  readonly sizeBytes: number
}

/** All that is sent of it. */
export interface SnapshotTelling extends ToldSnapshot {
  readonly format: 'drover-ebs-snapshot-1'
  readonly streamUuid: string
  readonly fileSystem: VolumeFileSystem
}

/** So much a telling has at most. */
export const longestTelling = 4_096

/** Null: it is none, or of a version that this one does not know. */
export const parseTelling = (text: string): SnapshotTelling | null => {
  try {
    const value: unknown = JSON.parse(text)
    return isTelling(value) ? value : null
  } catch {
    return null
  }
}

const isTelling = (value: unknown): value is SnapshotTelling => {
  if (typeof value !== 'object' || value === null) return false
  const { format, device, snapshotId, region, sizeBytes, streamUuid, fileSystem } = value as Record<string, unknown>
  return (
    format === 'drover-ebs-snapshot-1' &&
    [device, snapshotId, region, streamUuid].every((each) => typeof each === 'string') &&
    Number.isSafeInteger(sizeBytes) &&
    volumeFileSystems.some((each) => each === fileSystem)
  )
}
