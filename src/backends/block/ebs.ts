import { join } from 'node:path'
import type { DatasetRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import type { VolumeId } from '../../domain/ids.ts'
import type { BackendContext } from '../backend.ts'
import { BlockBackend } from './block-backend.ts'
import { EbsDevices } from './ebs/ebs-devices.ts'
import { EbsParts } from './ebs/ebs-parts.ts'
import { EbsHandover } from './ebs/handover.ts'
import { parseEbsPool } from './ebs/pool.ts'
import { EbsSharedSnapshots } from './ebs/shared-snapshots.ts'
import { Images } from './ebs/staging/images.ts'
import { StagedDevices } from './ebs/staging/staged-devices.ts'
import { onInstance, type Surroundings } from './ebs/surroundings.ts'

/** `ebs:`, see ebs/pool.ts: each volume a file system on a volume of EBS, in this instance's zone. */
export class EbsBackend extends BlockBackend {
  readonly handover: EbsHandover
  readonly sharedSnapshots: EbsSharedSnapshots
  readonly #devices: EbsDevices

  constructor(context: BackendContext, surroundings: Surroundings) {
    const pool = parseEbsPool(context.spec)
    const parts = new EbsParts(pool, surroundings, context.clock, context.logger.child({ pool: pool.spec }))
    const devices = new EbsDevices(parts, async (id) => (await this.readRecord(id))?.epoch ?? 0)
    const provider = pool.staging === null ? devices : staged(pool.staging, parts, devices, context)
    super(context, provider, pool.fileSystem)
    this.#devices = devices
    this.handover = new EbsHandover(parts, devices)
    this.sharedSnapshots = new EbsSharedSnapshots(parts, devices, this.arrivals, this.streams)
  }

  override async open(): Promise<void> {
    await super.open()
    await this.handover.settle(async (id) => (await this.readRecord(id))?.role === 'owner')
  }

  override async writeRecord(record: DatasetRecord): Promise<void> {
    await super.writeRecord(record)
    if (record.role === 'owner') await this.handover.keep(record.volumeId)
    await this.#devices.noteEpoch(record.volumeId, record.epoch)
  }

  override async mount(id: VolumeId, path: string): Promise<void> {
    // A crash may have come between the record and this.
    if ((await this.readRecord(id))?.role === 'owner') await this.handover.keep(id)
    await super.mount(id, path)
  }

  override async destroyLive(id: VolumeId): Promise<void> {
    await this.handover.forget(id)
    await super.destroyLive(id)
  }
}

const staged = (directory: string, parts: EbsParts, devices: EbsDevices, { exec }: BackendContext): StagedDevices => {
  const content: EbsDevices['content'] = (device, base) => devices.content(device, base)
  return new StagedDevices(devices, new Images(parts, directory, content, exec), parts)
}

/** A pool on the instance that this process runs on; what that is, is asked when it is opened. @throws BAD_CONFIG */
export const createEbsBackend = (context: BackendContext): EbsBackend => {
  const { cloud, spec } = context
  if (cloud === undefined) {
    throw new DroverError(
      'BAD_CONFIG',
      `pool ${spec.text}: pools of EBS are opened by vold alone; use another kind here`,
    )
  }
  // Pools with other options are other pools, with notes of their own.
  const home = join(cloud.notes, encodeURIComponent(spec.text))
  return new EbsBackend(context, onInstance({ home, cluster: cloud.cluster, budget: cloud.budget }))
}
