import type { AttachedDisks, KernelDisk } from '../../src/backends/block/ebs/kernel-disks.ts'

/** What an instance shows, by somebody's word: for tests of the calls alone, which have no devices. */
export abstract class NoDisks implements AttachedDisks {
  abstract find(volumeId: string): Promise<KernelDisk | null>

  link(volumeId: string): string {
    return `/dev/disk/by-id/${volumeId}`
  }

  async isClaimed(): Promise<boolean> {
    return false
  }

  async isOpen(): Promise<boolean> {
    return false
  }

  refuseWrites(): void {}

  async flush(): Promise<void> {}
}
