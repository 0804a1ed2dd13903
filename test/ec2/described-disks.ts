import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import type { KernelDisk } from '../../src/backends/block/ebs/kernel-disks.ts'
import { NoDisks } from './no-disks.ts'

/** What an instance shows, by the word of whatever answers EC2's calls: for servers that have no disks. */
export class DescribedDisks extends NoDisks {
  readonly #ec2: Ec2
  readonly #instanceId: string
  readonly #unitBytes: number

  constructor(ec2: Ec2, instanceId: string, unitBytes: number) {
    super()
    this.#ec2 = ec2
    this.#instanceId = instanceId
    this.#unitBytes = unitBytes
  }

  async find(volumeId: string): Promise<KernelDisk | null> {
    const { Volumes = [] } = await this.#ec2.describeVolumes({ Filters: [{ Name: 'volume-id', Values: [volumeId] }] })
    const at = Volumes[0]?.Attachments?.find(({ InstanceId }) => InstanceId === this.#instanceId)
    if (at === undefined || at.State === 'attaching') return null
    const sizeBytes = (Volumes[0]?.Size ?? 0) * this.#unitBytes
    return { path: `/dev/${volumeId}`, device: '0:0', sizeBytes, sequence: null, written: '', counts: null }
  }
}
