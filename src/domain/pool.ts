import { DroverError } from './errors.ts'

export const backendKinds = ['btrfs', 'zfs', 'lvm', 'loop', 'ebs'] as const
export type BackendKind = (typeof backendKinds)[number]

/** A pool is named by its spec, `KIND:WHERE`, such as `btrfs:/var/lib/drover/pool`. */
export interface PoolSpec {
  readonly kind: BackendKind
  readonly where: string
  readonly text: string
}

export const parsePoolSpec = (text: string): PoolSpec => {
  const colon = text.indexOf(':')
  const kind = backendKinds.find((known) => known === text.slice(0, colon))
  const where = text.slice(colon + 1)
  if (colon < 1 || kind === undefined || (where === '' && kind !== 'ebs')) {
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${JSON.stringify(text)} is not a pool; write KIND:WHERE, such as btrfs:/var/lib/drover/pool`,
    )
  }
  return { kind, where, text }
}

export interface PoolInfo {
  readonly spec: string
  readonly kind: BackendKind
  readonly totalBytes: number
  readonly freeBytes: number
}
