import type { Backend, TreeFacet } from '../backends/backend.ts'
import { type SnapshotRecord, treeIdentity } from '../domain/dataset.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import type { SourceObservation, TargetReport } from './agent.ts'

/** `native`: as the pools themselves send and receive; `tree`: file by file, between pools of different kinds. */
export type StreamKind = 'native' | 'tree'

/** The native one wherever both pools have it; null: they have none in common. */
export const streamKindOf = (
  source: Pick<SourceObservation, 'streamFormat' | 'trees'>,
  target: Pick<TargetReport, 'streamFormat' | 'trees'>,
): StreamKind | null => {
  if (source.streamFormat !== null && source.streamFormat === target.streamFormat) return 'native'
  return source.trees !== undefined && target.trees !== undefined ? 'tree' : null
}

/** What both ends know a snapshot by. */
export const identityFor = (kind: StreamKind, snapshot: SnapshotRecord): string =>
  kind === 'tree' ? treeIdentity(snapshot) : snapshot.streamUuid

/** Whether a host's pool sends and receives trees: left out, it does not; with a problem it would, but for that. */
export interface TreeReadiness {
  readonly problem: string | null
}

export interface Readiness {
  readonly trees?: TreeReadiness
  /** Pools of which this is the same reach the same storage: a volume can go from one to the other without being copied. */
  readonly handover?: string
}

export const readinessOf = async (backend: Backend): Promise<Readiness> => ({
  ...(await treeReadiness(backend)),
  ...(await handoverReadiness(backend)),
})

const handoverReadiness = async ({ handover }: Backend): Promise<Pick<Readiness, 'handover'>> => {
  // Who cannot say copies.
  const reach = await handover?.reach().catch(() => undefined)
  return reach === undefined ? {} : { handover: reach }
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

export const treesOf = (backend: Backend): TreeFacet => {
  if (backend.trees !== undefined) return backend.trees
  throw new DroverError('INTERNAL', `pool ${backend.spec.text} takes no trees`)
}
