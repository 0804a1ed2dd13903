import { randomUUID } from 'node:crypto'
import { constants, copyFile, type FileHandle, mkdir, open, rm, stat, statfs, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DroverError } from '../../../domain/errors.ts'
import { CommandError, type Exec } from '../../../lib/exec.ts'
import { syncAndForget } from '../../../lib/file-cache.ts'
import { isErrno, syncDirectory } from '../../../lib/files.ts'
import { isImmutable, setImmutable } from '../../../lib/immutable.ts'
import { type BoundLoop, boundLoops, letIdleLoopsBeWritten } from '../../../lib/loop-devices.ts'
import { isNoSpace } from '../../reserve.ts'
import type { AttachedDevice, BlockProvider, RangeSource, Seal, Sizing } from '../device.ts'

const magics: Readonly<Record<number, string>> = { 61267: 'ext4', 1481003842: 'xfs' }
/** Longer than a tick of the kernel's clock: what is written after that gets a later time. */
const tickMs = 20
const day = 86_400_000
const blockBytes = 4096

/** Where the files lie. */
export interface LoopPlace {
  /** Has to be there, on xfs or ext4. */
  readonly home: string
  /** In `home`; it is made, and holds nothing else. */
  readonly directory: string
  /** For messages, such as `pool loop:/DIR`. */
  readonly what: string
}

/**
 * Sparse files. A sealed one is immutable (chattr +i), and its mark is its ctime in microseconds: no call sets a ctime, and to write to
 * the file somebody has to lift the flag, which moves it, as does any write by who had it open before. Sealing waits for the kernel's
 * clock to go on, so that what comes after cannot bear the same time.
 */
export class LoopDevices implements BlockProvider {
  readonly home: string
  readonly clonesMounted = false
  readonly #place: LoopPlace
  readonly #exec: Exec
  #sharesExtents = false

  constructor(place: LoopPlace, exec: Exec) {
    this.home = place.home
    this.#place = place
    this.#exec = exec
  }

  async open(): Promise<void> {
    await this.#check()
    const { directory } = this.#place
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await syncDirectory(this.home)
    this.#sharesExtents = await canShare(directory)
  }

  async close(): Promise<void> {}

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const { blocks, bavail, bsize } = await statfs(this.home)
    return { totalBytes: blocks * bsize, freeBytes: bavail * bsize }
  }

  async whole(bytes: number): Promise<number> {
    return Math.ceil(bytes / blockBytes) * blockBytes
  }

  async create(device: string, sizeBytes: number): Promise<void> {
    await this.#making(device, async (handle) => handle.truncate(sizeBytes))
  }

  async sizeBytes(device: string): Promise<number | null> {
    return (await this.#stat(device))?.size ?? null
  }

  async grow(device: string, sizeBytes: number): Promise<void> {
    const found = await this.#stat(device)
    if (found === null) throw this.#missing(device)
    if (found.size < sizeBytes) {
      await truncate(this.name(device), sizeBytes)
      await this.sync(device)
    }
    const attached = await this.attached(device)
    if (attached !== null) await this.#exec.run(['losetup', '--set-capacity', attached.path])
  }

  async shrink(device: string, sizeBytes: number): Promise<void> {
    if ((await this.attached(device)) !== null) {
      throw new DroverError('VOLUME_BUSY', `${this.name(device)} is attached; it does not become smaller`)
    }
    await truncate(this.name(device), sizeBytes)
    await this.sync(device)
  }

  async clone(from: string, to: string): Promise<void> {
    const [source, target] = [this.name(from), this.name(to)]
    try {
      if (this.#sharesExtents) {
        await copyFile(source, target, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE_FORCE)
      } else {
        await this.#making(to, async () => {})
        await this.#exec.run(['cp', '--sparse=always', '--reflink=never', '--', source, target], { timeoutMs: day })
      }
      await this.sync(to)
      await syncDirectory(this.#place.directory)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) throw this.#missing(from)
      if (isNoSpace(error) || (error instanceof CommandError && /No space left/.test(error.stderr))) {
        await this.remove(to)
        throw this.noSpace(error)
      }
      throw error
    }
  }

  async sync(device: string): Promise<void> {
    const handle = await open(this.name(device), 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  settle(device: string): Promise<void> {
    return syncAndForget(this.name(device))
  }

  async remove(device: string): Promise<void> {
    const path = this.name(device)
    try {
      if (isImmutable(path)) setImmutable(path, false)
      await rm(path)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return
      throw error
    }
    await syncDirectory(this.#place.directory)
  }

  async ranges(): Promise<RangeSource> {
    return { by: 'extents', shares: this.#sharesExtents }
  }

  sizing(): Sizing {
    return { by: 'truncate' }
  }

  async seal(device: string): Promise<Seal> {
    await this.sync(device)
    setImmutable(this.name(device), true)
    await this.sync(device)
    await sleep(tickMs)
    const mark = await this.#mark(device)
    if (mark === null) throw this.#missing(device)
    return { mark, proof: null }
  }

  async isSealed(device: string): Promise<boolean> {
    return (await this.#mark(device)) !== null
  }

  async isIntact(device: string, seal: Seal): Promise<boolean> {
    return (await this.#mark(device)) === seal.mark
  }

  /** Null when there is no such file, or it is not sealed. */
  async #mark(device: string): Promise<number | null> {
    try {
      const path = this.name(device)
      if (!isImmutable(path)) return null
      return Number((await stat(path, { bigint: true })).ctimeNs / 1000n)
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
  }

  async generation(device: string): Promise<number> {
    const found = await this.#stat(device)
    return found === null ? 0 : Math.round(found.mtimeMs * 1000)
  }

  async usedBytes(devices: readonly string[]): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    for (const device of devices) found.set(device, ((await this.#stat(device))?.blocks ?? 0) * 512)
    return found
  }

  name(device: string): string {
    return join(this.#place.directory, device)
  }

  async path(device: string): Promise<string> {
    return this.name(device)
  }

  /** mount(8) takes a loop device for it that detaches itself, or the one that it has already. */
  async mountSource(device: string): Promise<{ source: string; options: readonly string[] }> {
    await letIdleLoopsBeWritten()
    return { source: this.name(device), options: ['loop'] }
  }

  async isHeld(device: string): Promise<boolean> {
    return (await this.attached(device)) !== null
  }

  async attached(device: string): Promise<AttachedDevice | null> {
    let dev: bigint
    let ino: bigint
    try {
      ;({ dev, ino } = await stat(this.name(device), { bigint: true }))
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
    const loops = (await boundLoops()).filter(({ backing }) => backing.dev === dev && backing.inode === ino)
    if (loops.filter(({ isReadOnly }) => !isReadOnly).length > 1) throw torn(this.name(device), loops)
    const [loop] = loops.toSorted((one, other) => Number(one.isReadOnly) - Number(other.isReadOnly))
    return loop === undefined ? null : { path: loop.path, device: loop.device }
  }

  async #making(device: string, work: (handle: FileHandle) => Promise<void>): Promise<void> {
    const handle = await open(this.name(device), 'wx', 0o600)
    try {
      await work(handle)
      await handle.sync()
    } catch (error) {
      if (isErrno(error, 'EFBIG'))
        throw new DroverError('BAD_SIZE', `${this.#place.what} cannot hold a file of that size`, { cause: error })
      throw error
    } finally {
      await handle.close()
    }
    await syncDirectory(this.#place.directory)
  }

  async #stat(device: string) {
    try {
      return await stat(this.name(device))
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return null
      throw error
    }
  }

  async #check(): Promise<void> {
    const problem = (text: string, cause?: unknown) =>
      new DroverError('BAD_CONFIG', `${this.#place.what} ${text}`, { cause })
    if (process.geteuid?.() !== 0) {
      throw new DroverError('NOT_PERMITTED', `${this.#place.what} needs root: it mounts file systems; run vold as root`)
    }
    if (!this.home.startsWith('/')) throw problem('is not an absolute path; write loop:/DIR')
    try {
      if (!(await stat(this.home)).isDirectory()) throw problem('is not a directory; name one on xfs or ext4')
    } catch (error) {
      if (isErrno(error, 'ENOENT', 'ENOTDIR')) throw problem('does not exist; make the directory on xfs or ext4', error)
      throw error
    }
    const { type } = await statfs(this.home)
    if (magics[type] === undefined) {
      throw problem(
        'is neither on xfs nor on ext4, whose times and flags a sealed snapshot relies on; name a directory on one',
      )
    }
  }

  #missing(device: string): DroverError {
    return new DroverError('DATASET_MISSING', `there is no device ${this.name(device)}; nothing was made in its place`)
  }

  noSpace(cause?: unknown): DroverError {
    return new DroverError('NO_SPACE', `no space in ${this.#place.what}; free some, or enlarge it`, { cause })
  }
}

const torn = (path: string, loops: readonly BoundLoop[]): DroverError =>
  new DroverError(
    'VOLUME_BUSY',
    `${path} is attached to more than one loop device (${loops.map(({ path: at }) => at).join(', ')}), which would tear it; detach what Drover did not attach`,
  )

/** Tried on the spot: an xfs may have been made without it. */
const canShare = async (directory: string): Promise<boolean> => {
  const [one, other] = [join(directory, `probe-${randomUUID()}`), join(directory, `probe-${randomUUID()}`)]
  try {
    const handle = await open(one, 'wx', 0o600)
    await handle.writeFile(Buffer.alloc(4096, 1)).finally(() => handle.close())
    await copyFile(one, other, constants.COPYFILE_FICLONE_FORCE)
    return true
  } catch (error) {
    if (isErrno(error, 'EOPNOTSUPP', 'ENOTSUP', 'EINVAL', 'EXDEV', 'ENOSYS', 'ENOTTY')) return false
    // Full or read-only: without a proof nothing is shared.
    if (isErrno(error, 'ENOSPC', 'EDQUOT')) return false
    throw error
  } finally {
    await rm(one, { force: true })
    await rm(other, { force: true })
  }
}
