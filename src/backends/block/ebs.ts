import type { DatasetRecord } from '../../domain/dataset.ts'
import type { BackendContext } from '../backend.ts'
import { BlockBackend } from './block-backend.ts'
import { EbsDevices } from './ebs/ebs-devices.ts'
import { EbsParts } from './ebs/ebs-parts.ts'
import { parseEbsPool } from './ebs/pool.ts'
import type { Surroundings } from './ebs/surroundings.ts'

/** `ebs:`, see ebs/pool.ts: each volume a file system on a volume of EBS, in this instance's zone. */
export class EbsBackend extends BlockBackend {
  readonly #devices: EbsDevices

  constructor(context: BackendContext, surroundings: Surroundings) {
    const pool = parseEbsPool(context.spec)
    const parts = new EbsParts(pool, surroundings, context.clock, context.logger.child({ pool: pool.spec }))
    const devices = new EbsDevices(parts, async (id) => (await this.readRecord(id))?.epoch ?? 0)
    super(context, devices, pool.fileSystem)
    this.#devices = devices
  }

  override async writeRecord(record: DatasetRecord): Promise<void> {
    await super.writeRecord(record)
    await this.#devices.noteEpoch(record.volumeId, record.epoch)
  }
}
