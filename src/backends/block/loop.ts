import { join } from 'node:path'
import type { BackendContext } from '../backend.ts'
import { BlockBackend } from './block-backend.ts'
import { LoopDevices } from './loop/loop-devices.ts'
import { parseWhere } from './where.ts'

/** `loop:/DIR` or `loop:/DIR?fs=xfs`: each volume a file system in a sparse file of that directory. */
export class LoopBackend extends BlockBackend {
  constructor(context: BackendContext) {
    const { where, fileSystem } = parseWhere(context.spec)
    const place = { home: where, directory: join(where, 'devices'), what: `pool ${context.spec.text}` }
    super(context, new LoopDevices(place, context.exec), fileSystem)
  }
}
