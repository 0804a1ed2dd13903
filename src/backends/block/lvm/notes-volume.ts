import { mkdir, open } from 'node:fs/promises'
import { DroverError } from '../../../domain/errors.ts'
import { CommandError, type Exec } from '../../../lib/exec.ts'
import { allMounts, ownMounts } from '../../../lib/mountinfo.ts'
import { kernelDevice } from './kernel-device.ts'
import type { LvmCommand } from './lvm-command.ts'
import { mapped, notesTag, notesVolume, ownTag, type ThinPool } from './names.ts'

const mib = 2 ** 20
const [leastBytes, mostBytes] = [64 * mib, 1024 * mib]
const minute = 60_000

/**
 * A small thin volume for the notes: so they live and die with the devices that they are about. Every byte of it is written when it is
 * made, and it is never cloned: a note finds room also when the pool has none.
 */
export class NotesVolume {
  readonly #pool: ThinPool
  readonly #exec: Exec
  readonly #lvm: LvmCommand

  constructor(pool: ThinPool, exec: Exec, lvm: LvmCommand) {
    this.#pool = pool
    this.#exec = exec
    this.#lvm = lvm
  }

  /** Mounted at `home` when it returns; made when the pool holds nothing of Drover's. @throws BAD_CONFIG */
  async open(home: string, poolBytes: number): Promise<void> {
    const { group } = this.#pool
    const own = await this.#lvm.own()
    const whole = own.filter(({ tags }) => tags.includes(notesTag.whole))
    if (whole.length > 1) throw this.#problem(`has two volumes of notes (${whole.map(({ name }) => name).join(', ')})`)
    const volume =
      whole[0]?.name ??
      (await this.#make(
        own.map(({ name, tags }) => ({ name, tags })),
        poolBytes,
      ))
    if (whole[0]?.isActive === false) await this.#lvm.activate(volume)
    await this.#mount(mapped(group, volume), home)
  }

  async #make(own: readonly { name: string; tags: readonly string[] }[], poolBytes: number): Promise<string> {
    const devices = own.filter(({ tags }) => !tags.includes(notesTag.new))
    if (devices.length > 0) {
      throw this.#problem(
        `holds ${devices.length} devices of Drover's (such as ${devices[0]?.name}), but not the volume with the notes about them; bring it back`,
      )
    }
    for (const { name } of own) await this.#lvm.remove(name)
    const { group, pool } = this.#pool
    const volume = notesVolume(pool)
    const bytes = Math.min(Math.max(Math.round(poolBytes / 1024 / mib) * mib, leastBytes), mostBytes)
    await this.#lvm.create(volume, bytes, [ownTag, notesTag.new])
    const path = `/dev/mapper/${mapped(group, volume)}`
    await fillWithZeros(path, (await kernelDevice(mapped(group, volume)))?.sizeBytes ?? bytes)
    // Discarding would give its room back.
    const options = ['-E', 'nodiscard', '-J', 'size=4', '-m', '0', '-i', '4096', '-b', '4096'] as const
    await this.#exec.run(['mke2fs', '-q', '-F', '-t', 'ext4', ...options, path], { timeoutMs: 10 * minute })
    await this.#lvm.replaceTag(volume, notesTag.new, notesTag.whole)
    return volume
  }

  async #mount(name: string, home: string): Promise<void> {
    const found = await kernelDevice(name)
    if (found === null) throw this.#problem(`has a volume of notes, ${name}, that the kernel does not show`)
    const top = (await ownMounts()).filter(({ mountPoint }) => mountPoint === home).at(-1)
    if (top?.device === found.device) return
    if (top !== undefined)
      throw this.#problem(`keeps its notes at ${home}, where ${top.source} is mounted; unmount that`)
    const isMounted = (await allMounts()).namespaces.some(({ entries }) =>
      entries.some(({ device }) => device === found.device),
    )
    if (!isMounted) await this.#check(found.path)
    await mkdir(home, { recursive: true, mode: 0o700 })
    const options = 'rw,noatime,nodiscard,errors=remount-ro'
    await this.#exec.run(['mount', '-n', '--make-private', '-t', 'ext4', '-o', options, found.path, home], {
      timeoutMs: 10 * minute,
    })
  }

  async #check(path: string): Promise<void> {
    try {
      await this.#exec.run(['e2fsck', '-p', path], { timeoutMs: 60 * minute })
    } catch (error) {
      // 1: all was put right.
      if (!(error instanceof CommandError && error.exitCode === 1)) throw error
    }
  }

  #problem(text: string): DroverError {
    return new DroverError('BAD_CONFIG', `pool ${this.#pool.spec} ${text}`)
  }
}

const fillWithZeros = async (path: string, sizeBytes: number): Promise<void> => {
  const zeros = Buffer.alloc(mib)
  const file = await open(path, 'r+')
  try {
    for (let at = 0; at < sizeBytes; at += mib) {
      const length = Math.min(mib, sizeBytes - at)
      const { bytesWritten } = await file.write(zeros, 0, length, at)
      if (bytesWritten !== length) throw new DroverError('NO_SPACE', `no space on ${path}`)
    }
    await file.sync()
  } finally {
    await file.close()
  }
}
