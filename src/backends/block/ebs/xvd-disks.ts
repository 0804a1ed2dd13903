import { access, readdir, realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { isErrno } from '../../../lib/files.ts'
import { KeyedMutex } from '../../../lib/mutex.ts'
import type { KernelDisk } from './kernel-disks.ts'

/** What EC2 tells of attachments to this instance. */
export interface NamesHere {
  /** Volumes by the names they are attached at, such as /dev/xvdba; null where it tells of two. */
  ask(): Promise<ReadonlyMap<string, string | null>>
  readonly clock: Clock
  /** After which it tells what was done. */
  readonly settleMs: number
}

interface Parts {
  readonly sys: string
  /** /dev/disk/by-diskseq, as udev fills it. */
  readonly links: string
  /** Null: it has gone. */
  readonly read: (name: string) => Promise<KernelDisk | null>
  readonly isClaimed: (disk: KernelDisk) => Promise<boolean>
}

/** Those that Drover asks for. */
export const xvdNames: readonly string[] = ['b', 'c', 'd'].flatMap((first) =>
  Array.from({ length: 26 }, (_, index) => `xvd${first}${String.fromCharCode(97 + index)}`),
)
const againMs = 1_000
/** Whose is what EC2 has not attached and nobody has mounted, such as a disk that is part of the instance. */
const nobody = ''

/**
 * Disks of Xen instances, which know no volume ids: the kernel names them as EC2 was asked to. A disk is a volume's when EC2 tells so of its name, of a
 * time at which it was here already: it appeared where there was none when the volume was asked for, or has been here for as long as EC2's answers may
 * lag behind. From then on the kernel's own number tells it from any other, and udev's link of that number leads to it or nowhere.
 */
export class XvdDisks {
  readonly #parts: Parts
  readonly #bound = new Map<string, { readonly sequence: string; readonly volumeId: string }>()
  readonly #seen = new Map<string, { readonly sequence: string; readonly at: number }>()
  readonly #expected = new Map<string, string>()
  readonly #turns = new KeyedMutex<'bind'>()
  #names: NamesHere | null = null

  constructor(parts: Parts) {
    this.#parts = parts
  }

  useNames(names: NamesHere): void {
    this.#names = names
  }

  /** Null: it is not known to be here. */
  link(volumeId: string): string | null {
    const found = [...this.#bound.values()].find((each) => each.volumeId === volumeId)
    return found === undefined ? null : join(this.#parts.links, found.sequence)
  }

  /** Before the volume is asked for at that name. False: there is a disk of that name, so that they could not be told apart. */
  async expect(volumeId: string, name: string): Promise<boolean> {
    if (await isThere(join(this.#parts.sys, 'block', name))) return false
    for (const [other, expected] of this.#expected) if (expected === volumeId) this.#expected.delete(other)
    this.#expected.set(name, volumeId)
    return true
  }

  /** Waits while it is not certain whose a disk is. @throws VOLUME_BUSY when that cannot become so, and what EC2 says */
  async find(volumeId: string): Promise<KernelDisk | null> {
    for (;;) {
      const shown = await this.#shown()
      const mine = shown.find(({ name }) => this.#bound.get(name)?.volumeId === volumeId)
      if (mine !== undefined) return this.#linked(mine)
      if (shown.every(({ name }) => this.#bound.has(name))) return null
      await this.#turns.run('bind', () => this.#bind())
    }
  }

  /** By what EC2 tells now; where it is too soon for all of them, it waits. */
  async #bind(): Promise<void> {
    const unknown = (await this.#shown()).filter(({ name }) => !this.#bound.has(name))
    if (unknown.length === 0) return
    const names = this.#names
    if (names === null) throw uncertain(unknown)
    const { clock, settleMs } = names
    const askedAt = clock.monotonic()
    const told = await names.ask()
    const waits: number[] = []
    const doubtful: { name: string }[] = []
    for (const { name, sequence, disk } of unknown) {
      const volumeId = told.get(`/dev/${name}`)
      const expected = this.#expected.get(name)
      const leftMs = (this.#seen.get(name)?.at ?? askedAt) + settleMs - askedAt
      // What is in use and is not told of may be anybody's: it may be that EC2 leaves it out.
      if (leftMs <= 0 && volumeId == null && (volumeId === null || (await this.#parts.isClaimed(disk)))) {
        doubtful.push({ name })
      } else if (leftMs <= 0 || (volumeId != null && volumeId === expected)) {
        this.#bound.set(name, { sequence, volumeId: volumeId ?? nobody })
        this.#expected.delete(name)
      } else waits.push(expected === undefined ? leftMs : Math.min(againMs, leftMs))
    }
    if (waits.length + doubtful.length < unknown.length) return
    if (waits.length === 0) throw uncertain(doubtful)
    await clock.sleep(Math.min(...waits))
  }

  /** What the kernel shows by now, and whose is still known. */
  async #shown(): Promise<{ name: string; sequence: string; disk: KernelDisk }[]> {
    const found = []
    for (const name of await this.#namesShown()) {
      const disk = await this.#parts.read(name)
      if (disk === null) continue
      const { sequence } = disk
      if (sequence === null) {
        throw new DroverError(
          'VOLUME_BUSY',
          `this kernel numbers no disks, so ${disk.path} cannot be told from another`,
        )
      }
      found.push({ name, sequence, disk })
      if (this.#bound.get(name)?.sequence !== sequence) this.#bound.delete(name)
      if (this.#seen.get(name)?.sequence !== sequence) {
        this.#seen.set(name, { sequence, at: this.#names?.clock.monotonic() ?? 0 })
      }
    }
    for (const known of [this.#bound, this.#seen]) {
      for (const name of known.keys()) if (!found.some((each) => each.name === name)) known.delete(name)
    }
    return found
  }

  /** False: a disk of that name would not be looked at, as somebody else attached it. */
  async sees(name: string): Promise<boolean> {
    return xvdNames.includes(name) || (await this.#isNvme(await this.#blocks()))
  }

  /** Where disks are NVMe, which tell whose they are, there are none of these. */
  async #namesShown(): Promise<string[]> {
    const blocks = await this.#blocks()
    return (await this.#isNvme(blocks)) ? [] : blocks.filter((name) => xvdNames.includes(name))
  }

  #blocks(): Promise<string[]> {
    return entriesIn(join(this.#parts.sys, 'block'))
  }

  async #isNvme(blocks: readonly string[]): Promise<boolean> {
    return (
      blocks.some((name) => name.startsWith('nvme')) ||
      (await entriesIn(join(this.#parts.sys, 'class/nvme'))).length > 0
    )
  }

  /** Udev's link of the number is what it is taken into use by. */
  async #linked({ name, sequence, disk }: { name: string; sequence: string; disk: KernelDisk }): Promise<KernelDisk> {
    const path = await realpath(join(this.#parts.links, sequence)).catch(() => null)
    return path !== null && basename(path) === name ? disk : { ...disk, isUnlinked: true }
  }
}

const uncertain = (disks: readonly { name: string }[]): DroverError =>
  new DroverError(
    'VOLUME_BUSY',
    `EC2 does not tell whose ${disks.map(({ name }) => `/dev/${name}`).join(', ')} is; nothing is done until it does`,
  )

const entriesIn = async (path: string): Promise<string[]> => {
  try {
    return await readdir(path)
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return []
    throw error
  }
}

const isThere = async (path: string): Promise<boolean> => {
  try {
    await access(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'ENOTDIR')) return false
    throw error
  }
}
