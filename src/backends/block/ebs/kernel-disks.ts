import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs'
import { constants, open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { DroverError } from '../../../domain/errors.ts'
import { isErrno, readIfExists } from '../../../lib/files.ts'
import { ioctl } from '../../../lib/ioctl.ts'
import { dropCache } from '../lvm/kernel-device.ts'

/** A disk of the cloud that the kernel shows. */
export interface KernelDisk {
  /** Such as /dev/nvme1n1. */
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
  readonly sizeBytes: number
  /** Changes with every write to it, and when it was attached anew. */
  readonly written: string
}

/** What this host shows of the cloud's disks. */
export interface AttachedDisks {
  /** Of a volume's id; always leads to that volume, or nowhere. */
  link(volumeId: string): string
  /** Null: it is not attached here. @throws VOLUME_BUSY when it is not certain whose the disk is */
  find(volumeId: string): Promise<KernelDisk | null>
  /** Mounted, or otherwise claimed in the kernel, by whom it may be. */
  isClaimed(disk: KernelDisk): Promise<boolean>
  /** A process has it open, such as one that sends a stream. */
  isOpen(disk: KernelDisk): Promise<boolean>
  /** The kernel takes no more writes to it. */
  refuseWrites(disk: KernelDisk): void
  /** What was written to it is on disk, and is what its readers see. */
  flush(disk: KernelDisk): Promise<void>
}

const sectorBytes = 512
const setReadOnly = 0x125d

/** Disks by the volume's id, never by guess or size: udev's link of that name, and where the controller tells a serial number, that too. */
export class KernelDisks implements AttachedDisks {
  readonly #links: string

  /** @param links /dev/disk/by-id, as udev fills it */
  constructor(links: string) {
    this.#links = links
  }

  link(volumeId: string): string {
    return join(this.#links, `nvme-Amazon_Elastic_Block_Store_${serialOf(volumeId)}`)
  }

  async find(volumeId: string): Promise<KernelDisk | null> {
    try {
      const path = await realpath(this.link(volumeId))
      const { rdev } = await stat(path)
      // As glibc packs the two.
      const device = `${(rdev >> 8) & 0xfff}:${(rdev & 0xff) | (Math.floor(rdev / 0x1000) & 0xfff00)}`
      const sys = `/sys/dev/block/${device}`
      const [size, serial, sequence, statistics] = await Promise.all(
        ['size', 'device/serial', 'diskseq', 'stat'].map((file) => readIfExists(`${sys}/${file}`).catch(() => null)),
      )
      if (size == null || Number(size) === 0) return null
      const told = serial?.trim()
      if (basename(path).startsWith('nvme') && told !== serialOf(volumeId)) {
        throw new DroverError(
          'VOLUME_BUSY',
          `${this.link(volumeId)} leads to ${path}, which is volume ${told ?? 'unknown'}; nothing is done until udev has settled`,
        )
      }
      // Of stat: requests to write, sectors written, requests to discard.
      const counts = (statistics ?? '').trim().split(/\s+/)
      const written = [sequence?.trim() ?? '', counts[4], counts[6], counts[11]].join(' ')
      return { path, device, sizeBytes: Number(size) * sectorBytes, written }
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) return null
      throw error
    }
  }

  async isClaimed({ path }: KernelDisk): Promise<boolean> {
    try {
      await (await open(path, constants.O_RDONLY | constants.O_EXCL)).close()
      return false
    } catch (error) {
      if (isErrno(error, 'EBUSY')) return true
      throw error
    }
  }

  async isOpen({ path }: KernelDisk): Promise<boolean> {
    for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
      // Thousands of links that are read from memory: one by one through the thread pool they would take a second.
      for (const fd of quietly(() => readdirSync(`/proc/${pid}/fd`), [])) {
        if (quietly(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '') === path) return true
      }
    }
    return false
  }

  refuseWrites({ path }: KernelDisk): void {
    const fd = openSync(path, 'r')
    try {
      const on = Buffer.alloc(8)
      on.writeInt32LE(1)
      ioctl(fd, setReadOnly, on)
    } finally {
      closeSync(fd)
    }
  }

  async flush({ path }: KernelDisk): Promise<void> {
    const file = await open(path, 'r')
    await file.sync().finally(() => file.close())
    dropCache(path)
  }
}

/** Processes and descriptors end while they are looked at. */
const quietly = <T>(read: () => T, otherwise: T): T => {
  try {
    return read()
  } catch {
    return otherwise
  }
}

/** As the NVMe controller has it: the volume's id without its hyphen. */
const serialOf = (volumeId: string): string => volumeId.replace('-', '')
