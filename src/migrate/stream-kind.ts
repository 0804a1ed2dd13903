import type { Backend, SharedSnapshotFacet, StreamFacet, TreeFacet } from '../backends/backend.ts'
import { type SnapshotRecord, treeIdentity } from '../domain/dataset.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import type { SourceObservation, TargetReport } from './agent.ts'

/**
 * `native`: as the pools themselves send and receive; `tree`: file by file, between pools of different kinds; `snapshot`: nothing but the name of one
 * that the storage keeps where both pools find it.
 */
export type StreamKind = 'native' | 'tree' | 'snapshot'

/** What is not sent at all is the quickest, then the native one wherever both pools have it; null: they have none in common. */
export const streamKindOf = (
  source: Pick<SourceObservation, 'streamFormat' | 'trees' | 'sharedSnapshots'>,
  target: Pick<TargetReport, 'streamFormat' | 'trees' | 'sharedSnapshots'>,
): StreamKind | null => {
  if (source.sharedSnapshots !== undefined && source.sharedSnapshots === target.sharedSnapshots) return 'snapshot'
  if (source.streamFormat !== null && source.streamFormat === target.streamFormat) return 'native'
  return source.trees !== undefined && target.trees !== undefined ? 'tree' : null
}

/** What both ends know a snapshot by. */
export const identityFor = (kind: StreamKind, snapshot: SnapshotRecord): string =>
  kind === 'tree' ? treeIdentity(snapshot) : snapshot.streamUuid

/** What the stream of a snapshot goes upon at the target; null: it is whole, as all are that are only told of. */
export const baseIdentityFor = (kind: StreamKind, base: SnapshotRecord | null): string | null =>
  base === null || kind === 'snapshot' ? null : identityFor(kind, base)

/** Whether a host's pool sends and receives trees: left out, it does not; with a problem it would, but for that. */
export interface TreeReadiness {
  readonly problem: string | null
}

export interface Readiness {
  readonly trees?: TreeReadiness
  /** Pools of which this is the same reach the same storage: a volume can go from one to the other without being copied. */
  readonly handover?: string
  /** Pools of which this is the same find each other's snapshots: only their names need be sent. */
  readonly sharedSnapshots?: string
  /** Where it keeps them: to another place they are copied. */
  readonly snapshotPlace?: string
  /** What that storage knows the host by. */
  readonly handoverPlace?: string
}

export const readinessOf = async (backend: Backend): Promise<Readiness> => ({
  ...(await treeReadiness(backend)),
  ...(await handoverReadiness(backend)),
  ...(await sharingReadiness(backend)),
})

const handoverReadiness = async ({ handover }: Backend): Promise<Readiness> => {
  if (handover === undefined) return {}
  try {
    return { handover: await handover.reach(), handoverPlace: await handover.place() }
  } catch {
    // Who cannot say copies.
    return {}
  }
}

const sharingReadiness = async ({
  sharedSnapshots,
}: Backend): Promise<Pick<Readiness, 'sharedSnapshots' | 'snapshotPlace'>> => {
  const found = await sharedSnapshots?.reach().catch(() => undefined)
  return found === undefined ? {} : { sharedSnapshots: found.reach, snapshotPlace: found.place }
}

export const treeReadiness = async ({ trees }: Backend): Promise<{ trees?: TreeReadiness }> => {
  if (trees === undefined) return {}
  try {
    await trees.check()
    return { trees: { problem: null } }
  } catch (error) {
    // Moves that need no trees are not held up by it.
    return { trees: { problem: asDroverError(error).message } }
  }
}

export const sharingOf = (backend: Backend): SharedSnapshotFacet => {
  if (backend.sharedSnapshots !== undefined) return backend.sharedSnapshots
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} finds no snapshots of other pools`)
}

export const treesOf = (backend: Backend): TreeFacet => {
  if (backend.trees !== undefined) return backend.trees
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} takes no trees`)
}

export const streamsOf = (backend: Backend): StreamFacet => {
  if (backend.streams !== undefined) return backend.streams
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} takes no streams`)
}
