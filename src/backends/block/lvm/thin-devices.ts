import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DroverError } from '../../../domain/errors.ts'
import { parsePoolSpec } from '../../../domain/pool.ts'
import { dropCache } from '../../../lib/block-device.ts'
import { CommandError, createExec, type Exec } from '../../../lib/exec.ts'
import { type Logger, silentLogger } from '../../../lib/logger.ts'
import type { AttachedDevice, BlockProvider, RangeSource, Seal, Sizing } from '../device.ts'
import { writeRanges } from '../range-list.ts'
import { type KernelDevice, kernelDevice } from './kernel-device.ts'
import { LvmCommand } from './lvm-command.ts'
import { MapperCommand } from './mapper-command.ts'
import { mapped, ownTag, parseThinPool, type ThinPool, volumeOf } from './names.ts'
import { NotesVolume } from './notes-volume.ts'
import { checkPool } from './pool-check.ts'
import { ThinMetadata } from './thin-metadata.ts'

const runtime = '/run/drover-lvm'
const minute = 60_000

/**
 * Thin volumes. A sealed one is read-only, and known by where each of its chunks lies: the kernel never writes over a chunk of a device
 * of which a snapshot was made, but puts another in its place, so that whatever was written to it meanwhile shows for good. Sealing makes
 * such a snapshot, for a moment, where there is none.
 */
export class ThinDevices implements BlockProvider {
  readonly home: string
  readonly clonesMounted = true
  readonly #pool: ThinPool
  readonly #exec: Exec
  readonly #logger: Logger
  readonly #lvm: LvmCommand
  readonly #mapper: MapperCommand
  readonly #notes: NotesVolume
  readonly #metadata: ThinMetadata
  readonly #ranges: string
  readonly #generations = new Map<string, { written: string; generation: number }>()
  #extentBytes: Promise<number> | null = null

  constructor(pool: ThinPool, exec: Exec, logger: Logger) {
    const directory = join(runtime, pool.group, pool.pool)
    this.home = join(directory, 'notes')
    this.#ranges = join(directory, 'ranges')
    this.#pool = pool
    this.#exec = exec
    this.#logger = logger
    this.#lvm = new LvmCommand(exec, pool)
    this.#mapper = new MapperCommand(exec, pool)
    this.#notes = new NotesVolume(pool, exec, this.#lvm)
    this.#metadata = new ThinMetadata(exec, this.#mapper, pool, join(this.home, 'metadata-snapshot'))
  }

  async open(): Promise<void> {
    if (process.geteuid?.() !== 0) {
      const { spec } = this.#pool
      throw new DroverError('NOT_PERMITTED', `pool ${spec} needs root: it mounts file systems; run vold as root`)
    }
    const { sizeBytes } = checkPool(this.#pool, await this.#lvm.pool())
    await this.#exec.run(['thin_delta', '--version'])
    await this.#resume()
    await this.#notes.open(this.home, sizeBytes)
    await this.#lvm.activateAll()
    await this.#metadata.open()
    await mkdir(this.#ranges, { recursive: true, mode: 0o700 })
    for (const name of await readdir(this.#ranges)) await rm(join(this.#ranges, name), { force: true })
  }

  /** The notes stay mounted, as another backend of this pool may be using them. */
  async close(): Promise<void> {}

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const { totalChunks, usedChunks, chunkBytes } = await this.#mapper.poolStatus()
    return { totalBytes: totalChunks * chunkBytes, freeBytes: (totalChunks - usedChunks) * chunkBytes }
  }

  async whole(bytes: number): Promise<number> {
    this.#extentBytes ??= this.#lvm.pool().then((pool) => checkPool(this.#pool, pool).extentBytes)
    const extentBytes = await this.#extentBytes
    return Math.max(Math.ceil(bytes / extentBytes), 1) * extentBytes
  }

  async create(device: string, sizeBytes: number): Promise<void> {
    await this.#lvm.create(volumeOf(device), await this.whole(sizeBytes), this.#tags(device))
  }

  async sizeBytes(device: string): Promise<number | null> {
    return (await this.#kernel(device))?.sizeBytes ?? (await this.#lvm.find(volumeOf(device)))?.sizeBytes ?? null
  }

  async grow(device: string, sizeBytes: number): Promise<void> {
    const found = await this.sizeBytes(device)
    if (found === null) throw this.#missing(device)
    if (found < sizeBytes) await this.#lvm.resize(volumeOf(device), await this.whole(sizeBytes))
  }

  /** What is cut off is given back first: it must not show again when the device grows. */
  async shrink(device: string, sizeBytes: number): Promise<void> {
    const wanted = await this.whole(sizeBytes)
    const { path, sizeBytes: found } = await this.#ready(device)
    if (found <= wanted) return
    const { chunkBytes } = await this.#mapper.poolStatus()
    const edge = Math.min(Math.ceil(wanted / chunkBytes) * chunkBytes, found)
    if (edge > wanted) await this.#empty(path, wanted, edge - wanted, ['--zeroout'])
    if (found > edge) await this.#empty(path, edge, found - edge, [])
    await this.#lvm.resize(volumeOf(device), wanted)
  }

  async clone(from: string, to: string, options: { toBeSealed: boolean } = { toBeSealed: false }): Promise<void> {
    await this.#lvm.snapshot(volumeOf(from), volumeOf(to), this.#tags(to), options.toBeSealed)
  }

  async ranges(device: string, base: string | null): Promise<RangeSource> {
    const [one, other] = [await this.#thinId(device), base === null ? null : await this.#thinId(base)]
    await mkdir(this.#ranges, { recursive: true, mode: 0o700 })
    const path = join(this.#ranges, randomUUID())
    await this.#metadata.changed(one, other, (ranges) => writeRanges(path, ranges))
    return { by: 'list', path }
  }

  sizing(device: string): Sizing {
    return { by: 'lvm', spec: this.#pool.spec, device }
  }

  async sync(device: string): Promise<void> {
    const { path } = await this.#ready(device)
    const file = await open(path, 'r')
    await file.sync().finally(() => file.close())
    dropCache(path)
  }

  settle(device: string): Promise<void> {
    return this.sync(device)
  }

  async remove(device: string): Promise<void> {
    for (const volume of [sealingOf(device), volumeOf(device)]) await this.#lvm.remove(volume)
    this.#generations.delete(device)
  }

  async seal(device: string): Promise<Seal> {
    await this.sync(device)
    if (!(await this.#ready(device)).isReadOnly) await this.#lvm.setReadOnly(volumeOf(device))
    const thinId = await this.#thinId(device)
    let found = await this.#metadata.digest(thinId)
    if (!found.isCopiedOnWrite) {
      // A crash may have left one.
      await this.#lvm.remove(sealingOf(device))
      await this.#lvm.snapshot(volumeOf(device), sealingOf(device), this.#tags(device), true)
      await this.#lvm.remove(sealingOf(device))
      found = await this.#metadata.digest(thinId)
    }
    return { mark: microseconds(), proof: found.digest }
  }

  async isSealed(device: string): Promise<boolean> {
    const found = (await this.#kernel(device)) ?? (await this.#lvm.find(volumeOf(device)))
    return found?.isReadOnly ?? false
  }

  async isIntact(device: string, { proof }: Seal): Promise<boolean> {
    if (!(await this.isSealed(device))) return false
    const { digest, isCopiedOnWrite } = await this.#metadata.digest(await this.#thinId(device))
    return isCopiedOnWrite && digest === proof
  }

  /** The time when it was first seen with what was written to it, as far as this process has seen. */
  async generation(device: string): Promise<number> {
    const found = await this.#kernel(device)
    const known = this.#generations.get(device)
    if (found === null) return known?.generation ?? 0
    if (known?.written === found.written) return known.generation
    const generation = Math.max(microseconds(), (known?.generation ?? 0) + 1)
    this.#generations.set(device, { written: found.written, generation })
    return generation
  }

  async usedBytes(devices: readonly string[], exact: boolean): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    if (exact) for (const device of devices) await this.#ready(device)
    const bytes = await this.#mapper.mappedBytes()
    for (const device of devices) {
      const used = bytes.get(this.#mapped(device))
      if (used !== undefined) found.set(device, used)
    }
    return found
  }

  name(device: string): string {
    return `/dev/mapper/${this.#mapped(device)}`
  }

  async path(device: string): Promise<string> {
    return (await this.#ready(device)).path
  }

  async mountSource(device: string): Promise<{ source: string; options: readonly string[] }> {
    return { source: await this.path(device), options: [] }
  }

  async isHeld(device: string): Promise<boolean> {
    return (await this.#mapper.openCount(this.#mapped(device))) > 0
  }

  async attached(device: string): Promise<AttachedDevice | null> {
    return this.#kernel(device)
  }

  #mapped(device: string): string {
    return mapped(this.#pool.group, volumeOf(device))
  }

  #tags(device: string): string[] {
    return [ownTag, `drover.volume.${device.slice(0, device.indexOf('.'))}`]
  }

  #kernel(device: string): Promise<KernelDevice | null> {
    return kernelDevice(this.#mapped(device))
  }

  async #ready(device: string): Promise<KernelDevice> {
    const found = await this.#kernel(device)
    if (found !== null) return found
    await this.#lvm.activate(volumeOf(device))
    const active = await this.#kernel(device)
    if (active === null) throw this.#missing(device)
    return active
  }

  async #thinId(device: string): Promise<number> {
    await this.#ready(device)
    const id = await this.#mapper.thinId(this.#mapped(device))
    if (id === null) throw this.#missing(device)
    return id
  }

  /** A command of LVM that was killed leaves what it worked on suspended, and all who use it waiting. */
  async #resume(): Promise<void> {
    const suspended = new Set(await this.#mapper.suspended())
    if (suspended.size === 0) return
    for (const { name } of await this.#lvm.own()) {
      if (!suspended.has(mapped(this.#pool.group, name))) continue
      this.#logger.warn({ volume: name }, 'a command was cut off while it held the device; it goes on')
      await this.#lvm.refresh(name)
    }
  }

  async #empty(path: string, offset: number, length: number, how: readonly string[]): Promise<void> {
    const argv = ['blkdiscard', '-f', ...how, '--offset', String(offset), '--length', String(length), path] as const
    try {
      await this.#exec.run(argv, { timeoutMs: 60 * minute })
    } catch (error) {
      // A pool may be told to ignore discards.
      if (how.length > 0 || !(error instanceof CommandError)) throw error
      await this.#empty(path, offset, length, ['--zeroout'])
    }
  }

  #missing(device: string): DroverError {
    return new DroverError('DATASET_MISSING', `there is no device ${this.name(device)}; nothing was made in its place`)
  }
}

/** For a moment, while a device is sealed. */
const sealingOf = (device: string): string => `${volumeOf(device)}.seal`

const microseconds = (): number => Math.round((performance.timeOrigin + performance.now()) * 1000)

/** For the process that receives a stream. */
export const sizeThinVolume = async (of: Extract<Sizing, { by: 'lvm' }>, sizeBytes: number): Promise<void> => {
  const devices = new ThinDevices(parseThinPool(parsePoolSpec(of.spec)), createExec(silentLogger), silentLogger)
  await devices.shrink(of.device, sizeBytes)
  await devices.grow(of.device, sizeBytes)
}
