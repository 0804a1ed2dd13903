import type { BackendKind } from '../domain/pool.ts'
import type { Backend, BackendContext } from './backend.ts'
import { createEbsBackend } from './block/ebs.ts'
import { LoopBackend } from './block/loop.ts'
import { LvmThinBackend } from './block/lvm-thin.ts'
import { BtrfsBackend } from './btrfs/btrfs-backend.ts'
import { ZfsBackend } from './zfs/zfs-backend.ts'

/** Every kind of pool there is. */
const backends: Readonly<Record<BackendKind, (context: BackendContext) => Backend>> = {
  btrfs: (context) => new BtrfsBackend(context),
  zfs: (context) => new ZfsBackend(context),
  lvm: (context) => new LvmThinBackend(context),
  loop: (context) => new LoopBackend(context),
  ebs: createEbsBackend,
}

/** @throws BAD_CONFIG for options that the kind does not have, and what it needs of the host is not there */
export const createBackend = (context: BackendContext): Backend => backends[context.spec.kind](context)
