import { readdirSync, readlinkSync } from 'node:fs'
import { constants, open, readdir, realpath, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { DroverError } from '../../../domain/errors.ts'
import { deviceNumberOf, dropCache, refuseWrites } from '../../../lib/block-device.ts'
import { isErrno, readIfExists } from '../../../lib/files.ts'
import { countsIn, type WriteCounts } from './write-counts.ts'
import { type NamesHere, XvdDisks } from './xvd-disks.ts'

/** A disk of the cloud that the kernel shows. */
export interface KernelDisk {
  /** Such as /dev/nvme1n1. */
  readonly path: string
  /** `major:minor`, as in mountinfo. */
  readonly device: string
  readonly sizeBytes: number
  /** No other disk ever has this number, nor this one when it is attached anew; null: this kernel counts none. */
  readonly sequence: string | null
  /** Changes with every write to it, and when it was attached anew. */
  readonly written: string
  /** It is here by its controller's word alone: udev has no link to it, yet or any more. It is in use as it may be, but not to be taken into use. */
  readonly isUnlinked?: true
  /** Null: the kernel does not count what is written to it. */
  readonly counts: WriteCounts | null
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
  /** The kernel takes no more writes to it. @throws VOLUME_BUSY when another disk has its path by now */
  refuseWrites(disk: KernelDisk): void
  /** What was written to it is on disk, and is what its readers see. */
  flush(disk: KernelDisk): Promise<void>
  /** Where EC2 attaches it is all that tells whose a disk is, see xvd-disks.ts. Absent: that does not matter. False: take another name. */
  expect?(volumeId: string, name: string): Promise<boolean>
  useNames?(names: NamesHere): void
  /** Whether what EC2 has attached at that name would be found: what is not may be in use all the same. Absent: always. */
  sees?(name: string): Promise<boolean>
}

const sectorBytes = 512

/**
 * Disks by the volume's id, never by guess or size: udev's link of that name, and where the controller tells a serial number, that too. Without a link
 * the controllers are asked: a disk that nobody has linked may be in use all the same. Where there is no such controller: xvd-disks.ts.
 */
export class KernelDisks implements AttachedDisks {
  readonly #links: string
  readonly #sys: string
  readonly #xvd: XvdDisks

  /** @param links /dev/disk/by-id, as udev fills it @param sys the kernel's own word @param numbers /dev/disk/by-diskseq */
  constructor(links: string, sys = '/sys', numbers = '/dev/disk/by-diskseq') {
    this.#links = links
    this.#sys = sys
    this.#xvd = new XvdDisks({
      ...{ sys, links: numbers, read: (name) => this.#readNamed(name) },
      isClaimed: async (disk) => (await absentAsNull(this.isClaimed(disk))) ?? false,
    })
  }

  link(volumeId: string): string {
    return this.#xvd.link(volumeId) ?? this.#nvmeLink(volumeId)
  }

  #nvmeLink(volumeId: string): string {
    return join(this.#links, `nvme-Amazon_Elastic_Block_Store_${serialOf(volumeId)}`)
  }

  async find(volumeId: string): Promise<KernelDisk | null> {
    const path = await absentAsNull(realpath(this.#nvmeLink(volumeId)))
    const linked = path === null ? null : await this.#linked(path, volumeId)
    return linked ?? (await this.#bySerial(volumeId)) ?? this.#xvd.find(volumeId)
  }

  expect(volumeId: string, name: string): Promise<boolean> {
    return this.#xvd.expect(volumeId, basename(name))
  }

  useNames(names: NamesHere): void {
    this.#xvd.useNames(names)
  }

  sees(name: string): Promise<boolean> {
    return this.#xvd.sees(basename(name))
  }

  async #readNamed(name: string): Promise<KernelDisk | null> {
    const sys = join(this.#sys, 'block', name)
    const device = await absentAsNull(readIfExists(join(sys, 'dev')))
    return device == null ? null : this.#read(`/dev/${name}`, device.trim(), sys)
  }

  async #linked(path: string, volumeId: string): Promise<KernelDisk | null> {
    const found = await absentAsNull(stat(path))
    if (found === null) return null
    const device = deviceNumberOf(found)
    const sys = join(this.#sys, 'dev/block', device)
    const disk = await this.#read(path, device, sys)
    const told = (await absentAsNull(readIfExists(join(sys, 'device/serial'))))?.trim()
    if (disk !== null && basename(path).startsWith('nvme') && told !== serialOf(volumeId)) {
      throw new DroverError(
        'VOLUME_BUSY',
        `${this.#nvmeLink(volumeId)} leads to ${path}, which is volume ${told ?? 'unknown'}; nothing is done until udev has settled`,
      )
    }
    return disk
  }

  /** Null: no NVMe controller is that volume. */
  async #bySerial(volumeId: string): Promise<KernelDisk | null> {
    const block = join(this.#sys, 'block')
    for (const name of (await absentAsNull(readdir(block))) ?? []) {
      if (!/^nvme\d+n\d+$/.test(name)) continue
      const sys = join(block, name)
      const [serial, device] = await Promise.all(
        ['device/serial', 'dev'].map((file) => absentAsNull(readIfExists(join(sys, file)))),
      )
      if (serial?.trim() !== serialOf(volumeId) || device == null) continue
      const disk = await this.#read(`/dev/${name}`, device.trim(), sys)
      if (disk !== null) return { ...disk, isUnlinked: true }
    }
    return null
  }

  /** Null: it has gone. */
  async #read(path: string, device: string, sys: string): Promise<KernelDisk | null> {
    const [size, sequence, statistics, isCounting] = await Promise.all(
      ['size', 'diskseq', 'stat', 'queue/iostats'].map((file) => absentAsNull(readIfExists(join(sys, file)))),
    )
    if (size == null || Number(size) === 0) return null
    // Of stat: requests to write, sectors written, requests to discard.
    const counts = (statistics ?? '').trim().split(/\s+/)
    const number = sequence?.trim() ?? null
    const written = [number ?? '', counts[4], counts[6], counts[11]].join(' ')
    const asCounted = isCounting?.trim() === '1' ? await countsIn(number ?? '', counts) : null
    return { path, device, sizeBytes: Number(size) * sectorBytes, sequence: number, written, counts: asCounted }
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

  refuseWrites({ path, sequence }: KernelDisk): void {
    if (refuseWrites(path, true, sequence)) return
    throw new DroverError('VOLUME_BUSY', `${path} has become another disk meanwhile; nothing was done to it`)
  }

  async flush({ path }: KernelDisk): Promise<void> {
    const file = await open(path, 'r')
    await file.sync().finally(() => file.close())
    dropCache(path)
  }
}

/** Of a disk that is going sysfs says ENODEV, and its node ENXIO. What says anything else may well be here. */
const absentAsNull = async <T>(asked: Promise<T>): Promise<T | null> => {
  try {
    return await asked
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR', 'ENODEV', 'ENXIO')) return null
    throw error
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
