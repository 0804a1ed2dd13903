import { DroverError, hasCode } from '../../domain/errors.ts'
import { CommandError, type Exec } from '../../lib/exec.ts'
import { ownMounts } from '../../lib/mountinfo.ts'
import type { BlockProvider, VolumeFileSystem } from './device.ts'
import { mountOptions } from './file-systems.ts'

const busy = /target is busy|Device or resource busy/
const notMounted = /: not mounted|not mounted/
const notFrozen = /Invalid argument/
const minute = 60_000
const trimMs = 10_000

/** argv in, typed errors out: mount, umount, fsfreeze, sync. */
export class MountCommand {
  readonly #exec: Exec
  readonly #devices: Pick<BlockProvider, 'mountSource'>

  constructor(exec: Exec, devices: Pick<BlockProvider, 'mountSource'>) {
    this.#exec = exec
    this.#devices = devices
  }

  /** @throws COMMAND_FAILED, also when it could be mounted read-only alone, though `writable` was asked for */
  async mount(device: string, fileSystem: VolumeFileSystem, how: 'writable' | 'view', path: string): Promise<void> {
    const { source, options } = await this.#devices.mountSource(device)
    const all = [...options, mountOptions[fileSystem][how]].join(',')
    // A journal that a power cut left may be long.
    await this.#exec.run(['mount', '-n', '--make-private', '-t', fileSystem, '-o', all, source, path], {
      timeoutMs: 10 * minute,
    })
    if (how === 'writable') await this.#refuseIfReadOnly(path)
  }

  /** mount(8) mounts read-only, without an error, what its device does not let it write. */
  async #refuseIfReadOnly(path: string): Promise<void> {
    const mounted = (await ownMounts()).findLast(({ mountPoint }) => mountPoint === path)
    if (mounted?.isReadOnly !== true) return
    await this.unmount(path)
    throw new DroverError(
      'COMMAND_FAILED',
      `${mounted.source} takes no writes: the kernel has it as read-only; nothing stays mounted at ${path}; see \`lsblk --output NAME,RO\``,
    )
  }

  /** A directory mounted on itself, so that what is mounted below spreads to no other mount namespace. */
  async bindPrivately(path: string): Promise<void> {
    await this.#exec.run(['mount', '-n', '--bind', path, path])
    await this.#exec.run(['mount', '-n', '--make-private', path])
  }

  /** False when nothing was mounted there. @throws VOLUME_BUSY */
  async unmount(path: string): Promise<boolean> {
    try {
      await this.#exec.run(['umount', '-n', path], { timeoutMs: 10 * minute })
      return true
    } catch (error) {
      if (!(error instanceof CommandError)) throw error
      if (notMounted.test(error.stderr)) return false
      if (busy.test(error.stderr)) {
        throw new DroverError('VOLUME_BUSY', `${path} is busy: something still uses it; stop that first`, {
          details: error.details,
          cause: error,
        })
      }
      throw error
    }
  }

  /** Waits for what is being written; from then on writers wait. @throws VOLUME_BUSY when somebody else has frozen it */
  async freeze(path: string): Promise<void> {
    try {
      await this.#exec.run(['fsfreeze', '--freeze', path], { timeoutMs: 10 * minute })
    } catch (error) {
      if (!(error instanceof CommandError) || !busy.test(error.stderr)) throw error
      throw new DroverError('VOLUME_BUSY', `the file system at ${path} is frozen by somebody else; thaw it first`, {
        cause: error,
      })
    }
  }

  /** What is not frozen is a success. */
  async thaw(path: string): Promise<void> {
    try {
      await this.#exec.run(['fsfreeze', '--unfreeze', path])
    } catch (error) {
      if (!(error instanceof CommandError) || !notFrozen.test(error.stderr)) throw error
    }
  }

  /** Gives back what deleted files held, so that it is neither kept nor sent; an attempt, no more. */
  async trim(path: string): Promise<void> {
    await this.sync(path)
    try {
      await this.#exec.run(['fstrim', '--minimum', '64KiB', path], { timeoutMs: trimMs })
    } catch (error) {
      if (!(error instanceof CommandError) && !hasCode(error, 'TIMED_OUT')) throw error
    }
  }

  async sync(path: string): Promise<void> {
    await this.#exec.run(['sync', '--file-system', path], { timeoutMs: 10 * minute })
  }
}
