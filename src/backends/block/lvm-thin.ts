import type { BackendContext } from '../backend.ts'
import { BlockBackend } from './block-backend.ts'
import { parseThinPool } from './lvm/names.ts'
import { ThinDevices } from './lvm/thin-devices.ts'

/** `lvm:GROUP/POOL` or `lvm:GROUP/POOL?fs=xfs`: each volume a file system on a thin volume of that pool. */
export class LvmThinBackend extends BlockBackend {
  constructor(context: BackendContext) {
    const pool = parseThinPool(context.spec)
    super(context, new ThinDevices(pool, context.exec, context.logger), pool.fileSystem)
  }
}
