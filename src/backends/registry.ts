import { DroverError } from '../domain/errors.ts'
import type { BackendKind } from '../domain/pool.ts'
import type { Backend, BackendContext } from './backend.ts'
import { LoopBackend } from './block/loop.ts'
import { LvmThinBackend } from './block/lvm-thin.ts'
import { BtrfsBackend } from './btrfs/btrfs-backend.ts'
import { ZfsBackend } from './zfs/zfs-backend.ts'

/** Every kind of pool there is; null: named in the design, not built yet. */
const backends: Readonly<Record<BackendKind, (new (context: BackendContext) => Backend) | null>> = {
  btrfs: BtrfsBackend,
  zfs: ZfsBackend,
  lvm: LvmThinBackend,
  loop: LoopBackend,
  ebs: null,
}

/** @throws BAD_CONFIG for a kind that this version does not have. */
export const createBackend = (context: BackendContext): Backend => {
  const Kind = backends[context.spec.kind]
  if (Kind !== null) return new Kind(context)
  const known = Object.entries(backends).flatMap(([kind, built]) => (built === null ? [] : [kind]))
  throw new DroverError(
    'BAD_CONFIG',
    `pool ${context.spec.text}: this version has no ${context.spec.kind} pools; use one of: ${known.join(', ')}`,
  )
}
