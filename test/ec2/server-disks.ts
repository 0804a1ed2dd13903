import type { KernelDisk } from '../../src/backends/block/ebs/kernel-disks.ts'
import { NoDisks } from './no-disks.ts'
import { type Ec2Server, here } from './server.ts'

/** What the instance shows, by the server's word: for tests of the calls alone, which have no devices. */
export class ServerDisks extends NoDisks {
  readonly #server: Ec2Server
  readonly #instanceId: string

  constructor(server: Ec2Server, instanceId: string = here.instanceId) {
    super()
    this.#server = server
    this.#instanceId = instanceId
  }

  async find(volumeId: string): Promise<KernelDisk | null> {
    const volume = this.#server.world.volumes.get(volumeId)
    const attachment = volume?.attachment
    if (volume == null || attachment?.instanceId !== this.#instanceId || attachment.state === 'attaching') return null
    const sizeBytes = volume.size * this.#server.world.unitBytes
    return { path: `/dev/${volumeId}`, device: '0:0', sizeBytes, sequence: null, written: '', counts: null }
  }
}
