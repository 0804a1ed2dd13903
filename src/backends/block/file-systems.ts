import { chmod, mkdir, open, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../domain/errors.ts'
import { formatSize } from '../../domain/units.ts'
import { CommandError, type Exec } from '../../lib/exec.ts'
import type { VolumeFileSystem } from './device.ts'

const minute = 60_000
const noSpace = /No space left on device/
const notPermitted = /Permission denied to resize filesystem/
const mib = 2 ** 20

/** Below these there is no room to work in; mkfs.xfs refuses less than 300 MB by itself. */
export const smallestBytes: Readonly<Record<VolumeFileSystem, number>> = { ext4: 16 * mib, xfs: 320 * mib }

/** How each file system is mounted. `view`: of a sealed device, without a write to it. */
export const mountOptions: Readonly<Record<VolumeFileSystem, { writable: string; view: string }>> = {
  ext4: { writable: 'rw,noatime,nodiscard,errors=remount-ro', view: 'ro,noload,noatime' },
  // A snapshot has the UUID of what it was made of, and xfs mounts one of a UUID at a time.
  xfs: { writable: 'rw,noatime,nodiscard,nouuid', view: 'ro,norecovery,nouuid,noatime' },
}

/** mkfs, fsck and their kin: what is not mounted. argv in, typed errors out. */
export class FileSystems {
  readonly #exec: Exec

  constructor(exec: Exec) {
    this.#exec = exec
  }

  /** @throws MISSING_PROGRAM */
  async check(fileSystem: VolumeFileSystem): Promise<void> {
    const probe = { ext4: ['mke2fs', '-V'], xfs: ['mkfs.xfs', '-V'] } as const
    await this.#exec.run(probe[fileSystem])
  }

  /** A directory that holds nothing but `data`, and the same in the words of mkfs.xfs, from which file systems are filled without a mount. */
  async prepare(template: string): Promise<void> {
    await mkdir(join(template, 'data'), { recursive: true })
    for (const path of [template, join(template, 'data')]) await chmod(path, 0o755)
    await writeFile(`${template}.xfs`, '/dev/null\n0 0\nd--755 0 0\ndata d--755 0 0\n$\n$\n')
  }

  /**
   * The only mkfs for volumes. `path` is a device that the caller has made a moment ago; it is formatted only when nothing is to be
   * found on it: libblkid knows no signature, and both ends read as zeros. The root holds an empty `data`.
   * @param template made by `prepare` @throws DATASET_FOREIGN, NO_SPACE
   */
  async format(fileSystem: VolumeFileSystem, path: string, sizeBytes: number, template: string): Promise<void> {
    await this.#refuseUnlessBlank(path, sizeBytes)
    try {
      await this.#make(fileSystem, path, sizeBytes, template)
    } catch (error) {
      if (!(error instanceof CommandError) || !noSpace.test(error.stderr)) throw error
      throw new DroverError('NO_SPACE', `no space for a file system on ${path}; free some on the pool, or enlarge it`, {
        details: error.details,
        cause: error,
      })
    }
  }

  async #make(fileSystem: VolumeFileSystem, path: string, sizeBytes: number, template: string): Promise<void> {
    if (fileSystem === 'ext4') {
      // A larger journal would be shipped again and again; large devices get one of 1 GiB otherwise.
      const journal = sizeBytes >= 2048 * mib ? ['-J', 'size=64'] : []
      const argv = [
        ...(['mke2fs', '-q', '-t', 'ext4', '-b', '4096', '-m', '0', '-E', 'lazy_journal_init=1'] as const),
        ...[...journal, '-d', template, path],
      ] as const
      await this.#exec.run(argv, { timeoutMs: 10 * minute })
      return
    }
    await this.#exec.run(['mkfs.xfs', '-q', '-p', `${template}.xfs`, path], { timeoutMs: 10 * minute })
  }

  async #refuseUnlessBlank(path: string, sizeBytes: number): Promise<void> {
    const found = await this.#exec.run(['blkid', '-p', path]).then(
      ({ stdout }) => stdout,
      (error: unknown) => {
        // 2: nothing found. Anything else, also an ambivalent answer, is something.
        if (error instanceof CommandError && error.exitCode === 2) return null
        throw error
      },
    )
    if (found === null && (await endsAreZero(path, sizeBytes))) return
    throw new DroverError('DATASET_FOREIGN', `the new device ${path} is not blank; it was not formatted`, {
      details: { found },
    })
  }

  /** Before the first mount of what was received or cloned: ext4 is checked, the journal replayed. xfs does that as it is mounted. @throws COMMAND_FAILED */
  async repair(fileSystem: VolumeFileSystem, path: string, thoroughly = false): Promise<void> {
    if (fileSystem === 'xfs') return
    try {
      const argv = thoroughly ? (['e2fsck', '-f', '-p', path] as const) : (['e2fsck', '-p', path] as const)
      await this.#exec.run(argv, { timeoutMs: 24 * 60 * minute })
    } catch (error) {
      // 1: all was put right.
      if (!(error instanceof CommandError && error.exitCode === 1)) throw error
    }
  }

  /** Whether it was left by an unmount or a freeze, so that nothing waits in its journal. Of xfs that is not known. */
  async isClean(fileSystem: VolumeFileSystem, path: string): Promise<boolean> {
    if (fileSystem === 'xfs') return false
    const superblock = await readAt(path, 1024, 1024)
    const needsRecovery = (superblock.readUInt32LE(0x60) & 0x4) !== 0
    return superblock.readUInt16LE(0x38) === 0xef53 && !needsRecovery
  }

  /** What the kernel found damaged the last time is put right before it is mounted again. @throws COMMAND_FAILED */
  async heal(fileSystem: VolumeFileSystem, path: string): Promise<void> {
    if (fileSystem === 'xfs') return
    const hasErrors = ((await readAt(path, 1024, 1024)).readUInt16LE(0x3a) & 0x2) !== 0
    if (hasErrors) await this.repair(fileSystem, path)
  }

  /** Mounted: growing only. `path`: the block device, or the file of what is not mounted; `mountPoint` null for that. */
  async resize(
    fileSystem: VolumeFileSystem,
    path: string,
    mountPoint: string | null,
    sizeBytes: number | null,
  ): Promise<void> {
    const to = sizeBytes === null ? [] : [`${Math.floor(sizeBytes / 1024)}K`]
    if (fileSystem === 'ext4') {
      try {
        await this.#exec.run(['resize2fs', path, ...to], { timeoutMs: 60 * minute })
        return
      } catch (error) {
        if (mountPoint === null || !(error instanceof CommandError) || !notPermitted.test(error.stderr)) throw error
        throw new DroverError(
          'NOT_PERMITTED',
          `the kernel does not let vold grow ${path} while it is mounted (CAP_SYS_RESOURCE is needed); stop the containers first, or give vold that capability`,
          { details: error.details, cause: error },
        )
      }
    }
    if (mountPoint === null) throw new DroverError('BAD_SIZE', `${path}: xfs grows only while it is mounted`)
    await this.#exec.run(['xfs_growfs', '-d', mountPoint], { timeoutMs: 10 * minute })
  }
}

export const tooSmall = (sizeBytes: number, fileSystem: VolumeFileSystem): DroverError =>
  new DroverError(
    'BAD_SIZE',
    `${formatSize(sizeBytes)} is too small for a volume with ${fileSystem}; ${formatSize(smallestBytes[fileSystem])} are needed at least`,
  )

const endsAreZero = async (path: string, sizeBytes: number): Promise<boolean> => {
  const length = Math.min(sizeBytes, mib)
  const ends = await Promise.all([readAt(path, 0, length), readAt(path, sizeBytes - length, length)])
  return ends.every((bytes) => bytes.length === length && bytes.equals(Buffer.alloc(length)))
}

const readAt = async (path: string, at: number, length: number): Promise<Buffer> => {
  const handle = await open(path, 'r')
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, at)
    return buffer.subarray(0, bytesRead)
  } finally {
    await handle.close()
  }
}
