import { DroverError } from '../../../domain/errors.ts'
import type { VolumeId } from '../../../domain/ids.ts'
import type { Clock } from '../../../lib/clock.ts'
import { KeyedMutex } from '../../../lib/mutex.ts'
import type {
  ArrivalPlace,
  AttachedDevice,
  BlockProvider,
  RangeSource,
  Seal,
  Sizing,
  SnapshotContent,
  Writers,
} from '../device.ts'
import type { Range } from '../differences.ts'
import { Adopting } from './adopting.ts'
import { Arrivals } from './arrivals.ts'
import { ComparedSnapshots } from './compared-snapshots.ts'
import { Comparisons } from './comparisons.ts'
import type { EbsParts } from './ebs-parts.ts'
import type { Entry } from './ledger.ts'
import { Making } from './making.ts'
import { Passing } from './passing.ts'
import { SnapshotViews } from './snapshot-views.ts'
import type { ToldSnapshot } from './told-snapshot.ts'
import { bytesBetween } from './write-counts.ts'

/** AWS's default limit on the storage of one type, in GiB. No call of EC2 tells an account's own. */
const defaultQuotaGib = 51_200

/**
 * Devices on EBS. One that is written is a volume; one that is sealed is a snapshot, which nothing can change, and is shown by a volume made of it
 * when somebody wants to read it, dropped when nobody did for a while.
 */
export class EbsDevices implements BlockProvider {
  readonly home: string
  readonly clonesMounted = false
  readonly defaultBytes: number
  readonly #parts: EbsParts
  readonly #making: Making
  readonly #views: SnapshotViews
  readonly #passing: Passing
  readonly #adopting: Adopting
  readonly #comparisons: Comparisons
  readonly #arrivals: Arrivals
  readonly #unitBytes: number
  readonly #clock: Clock
  readonly #devices = new KeyedMutex<string>()
  readonly #generations = new Map<string, { written: string; generation: number }>()
  /** Snapshots that were seen whole and are not sealed yet. */
  readonly #whole = new Set<string>()

  /** @param epochOf by the record on this pool; 0: there is none */
  constructor(parts: EbsParts, epochOf: (id: VolumeId) => Promise<number>) {
    this.#parts = parts
    this.#making = new Making(parts, epochOf)
    this.#views = new SnapshotViews(parts, this.#making)
    this.#passing = new Passing(parts)
    this.#adopting = new Adopting(parts, this.#making)
    this.#arrivals = new Arrivals(parts, this.#making)
    const { clock, ledger, snapshots, direct, identity, logger, surroundings } = parts
    const taken = new ComparedSnapshots({
      ...{ clock, ledger, snapshots, logger, tags: (entry) => this.#making.tags(entry) },
      locked: (device, work) => this.#devices.run(device, work),
    })
    this.#comparisons = new Comparisons({ clock, ledger, snapshots, direct, identity, logger, surroundings, taken })
    this.home = parts.surroundings.home
    this.#unitBytes = parts.surroundings.unitBytes
    this.#clock = parts.clock
    this.defaultBytes = parts.pool.defaultGib * this.#unitBytes
  }

  async open(): Promise<void> {
    if (process.geteuid?.() !== 0) {
      const { spec } = this.#parts.pool
      throw new DroverError('NOT_PERMITTED', `pool ${spec} needs root: it mounts file systems; run vold as root`)
    }
    await this.#parts.open()
    for (const entry of await this.#parts.ledger.all()) {
      await this.#dropView(entry.device)
      // Nobody waits for EC2's answer.
      void this.#comparisons.tidy(entry.device)
    }
    this.#views.start((device) => this.#dropView(device))
  }

  async close(): Promise<void> {
    this.#views.stop()
    this.#parts.sizing.close()
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number }> {
    const entries = await this.#parts.ledger.all()
    const used = entries.reduce((sum, { sizeBytes }) => sum + sizeBytes, this.#unitBytes)
    const totalBytes = defaultQuotaGib * this.#unitBytes
    return { totalBytes, freeBytes: Math.max(totalBytes - used, 0) }
  }

  async whole(bytes: number): Promise<number> {
    return Math.max(Math.ceil(bytes / this.#unitBytes), this.#parts.pool.profile.smallestGib) * this.#unitBytes
  }

  create(device: string, sizeBytes: number): Promise<void> {
    return this.#devices.run(device, async () => {
      const { ledger } = this.#parts
      if ((await ledger.read(device)) !== null) throw new Error(`device ${device} exists; nothing is made in its place`)
      const entry = await this.#making.entry(device, sizeBytes)
      await ledger.write(entry)
      // Without a size it is made when who receives the stream has learned one: EC2 makes no volume smaller, nor larger twice a day.
      if (sizeBytes > 0) await this.#making.volume(entry, null)
    })
  }

  /** By our notes: EC2 is asked when something is to be done with it. */
  async sizeBytes(device: string): Promise<number | null> {
    const entry = await this.#parts.ledger.read(device)
    if (entry === null) return null
    const isMade = entry.sealMark !== null || entry.sizeBytes === 0 || entry.volume?.volumeId != null
    if (!isMade && entry.snapshot?.snapshotId == null) return null
    return entry.sizeBytes
  }

  grow(device: string, sizeBytes: number): Promise<void> {
    return this.#devices.run(device, () => this.#grow(device, sizeBytes))
  }

  async #grow(device: string, sizeBytes: number): Promise<void> {
    const entry = await this.#must(device)
    const wanted = await this.whole(sizeBytes)
    if (entry.sizeBytes >= wanted) return
    if (entry.sizeBytes === 0) {
      await this.#making.volume({ ...entry, sizeBytes: wanted }, entry.arrivesUpon?.snapshotId ?? null)
      return
    }
    const volumeId = this.#volumeId(entry)
    await this.#parts.volumes.grow(volumeId, device, wanted / this.#unitBytes)
    await this.#parts.ledger.write({ ...entry, sizeBytes: wanted })
    await this.#awaitSize(volumeId, wanted)
  }

  /** What is attached shows its new size a moment later. */
  async #awaitSize(volumeId: string, sizeBytes: number): Promise<void> {
    const { disks, surroundings } = this.#parts
    const endsAt = this.#clock.monotonic() + surroundings.limits.attach
    for (;;) {
      const disk = await disks.find(volumeId)
      if (disk === null || disk.sizeBytes >= sizeBytes) return
      if (this.#clock.monotonic() > endsAt) {
        throw new DroverError('TIMED_OUT', `the kernel still shows ${disk.path} (${volumeId}) with its old size`)
      }
      await this.#clock.sleep(500)
    }
  }

  async shrink(device: string, sizeBytes: number): Promise<void> {
    const found = await this.sizeBytes(device)
    if (found !== null && found <= (await this.whole(sizeBytes))) return
    throw new DroverError('BAD_SIZE', `${this.name(device)}: a volume of EBS does not become smaller`)
  }

  async clone(
    from: string,
    to: string,
    { toBeSealed, signal }: { toBeSealed: boolean; signal?: AbortSignal | undefined } = { toBeSealed: false },
  ): Promise<void> {
    const source = await this.#must(from)
    await this.#devices.run(to, async () => {
      const { ledger, snapshots } = this.#parts
      if ((await ledger.read(to)) !== null) throw new Error(`device ${to} exists; nothing is made in its place`)
      let entry = await this.#making.entry(to, source.sizeBytes)
      await ledger.write(entry)
      if (source.sealMark !== null) {
        await this.#making.volume(entry, source.snapshot?.snapshotId ?? null)
        return
      }
      // Counted first: what is written while EC2 takes it is told as written since.
      const counts = (await this.#disk(from))?.counts ?? null
      const taken: Entry = counts === null ? entry : { ...entry, takenOf: { device: from, counts } }
      entry = await snapshots.begin(taken, this.#volumeId(source), this.#making.tags(entry), signal)
      if (toBeSealed) return
      const snapshotId = entry.snapshot?.snapshotId ?? ''
      await snapshots.whole(snapshotId, to)
      await snapshots.destroy(await this.#making.volume(entry, snapshotId))
    })
  }

  content(device: string, base: string | null): Promise<SnapshotContent | null> {
    return this.#comparisons.content(device, base)
  }

  changes(device: string, base: string, sizeBytes: number, writers: Writers): Promise<AsyncIterable<Range> | null> {
    return this.#comparisons.changes(device, base, sizeBytes, writers)
  }

  /** Where `content` and `changes` know nothing, all of it is read. */
  async ranges(): Promise<RangeSource> {
    return { by: 'extents', shares: false }
  }

  sizing(device: string): Sizing {
    return { by: 'asked', path: this.#parts.sizing.serve(device, (sizeBytes) => this.#resize(device, sizeBytes)) }
  }

  async #resize(device: string, sizeBytes: number): Promise<ArrivalPlace> {
    const wanted = await this.whole(sizeBytes)
    const draft = await this.#devices.run(device, async () => this.#arrivals.start(await this.#must(device), wanted))
    if (draft !== null) return { draft }
    await this.shrink(device, sizeBytes)
    await this.grow(device, sizeBytes)
    return { path: await this.path(device) }
  }

  async arrive(device: string, base: string | null): Promise<void> {
    if (await this.noteArrival(device, base)) return
    await (base === null ? this.create(device, 0) : this.clone(base, device))
  }

  /** A new device that `place` says more of. False: it is none, and has to be made otherwise. */
  async noteArrival(device: string, base: string | null): Promise<boolean> {
    const source = base === null ? null : await this.#must(base)
    return this.#devices.run(device, () => this.#arrivals.note(device, source))
  }

  /** Where what arrives of this size is to be written; what an earlier try has written goes. */
  async place(device: string, sizeBytes: number): Promise<ArrivalPlace> {
    await this.#devices.run(device, async () => this.#arrivals.takeBack(await this.#must(device)))
    return this.#resize(device, sizeBytes)
  }

  /** Nothing comes any more of what was to be written there. */
  gaveUp(device: string): Promise<void> {
    return this.#devices.run(device, async () => this.#arrivals.gaveUp(await this.#must(device)))
  }

  async sync(device: string): Promise<void> {
    const disk = await this.#disk(device)
    if (disk !== null) await this.#parts.disks.flush(disk)
  }

  remove(device: string): Promise<void> {
    return this.#devices.run(device, async () => {
      const { ledger, volumes, snapshots, attachments, sizing } = this.#parts
      await sizing.drop(device)
      const entry = await ledger.read(device)
      if (entry === null) return
      // The volume is another host's by now, or still.
      this.#arrivals.gaveUp(entry)
      if (entry.passing !== undefined) await this.#passing.giveUp(entry)
      else await snapshots.destroy(await volumes.destroy(entry, attachments))
      await ledger.drop(device)
      this.#generations.delete(device)
    })
  }

  seal(device: string): Promise<Seal> {
    return this.#devices.run(device, async () => {
      const { ledger, volumes, snapshots, attachments } = this.#parts
      let entry = await this.#must(device)
      if (entry.sealMark === null) {
        // One that a crash left beside the volume may be older than what was written to it.
        if (entry.volume !== null) entry = await snapshots.destroy(entry)
        if (entry.snapshot === null) {
          await this.sync(device)
          entry = await snapshots.begin(entry, this.#volumeId(entry), this.#making.tags(entry))
        }
        const snapshotId = entry.snapshot?.snapshotId ?? ''
        if (!this.#whole.delete(snapshotId)) await snapshots.whole(snapshotId, device)
        entry = { ...entry, sealMark: microseconds() }
        await ledger.write(entry)
      }
      // What was written to it since is not what was sealed.
      if (entry.volume !== null) entry = await volumes.destroy(entry, attachments)
      return { mark: entry.sealMark ?? 0, proof: entry.snapshot?.snapshotId ?? null }
    })
  }

  async sealable(device: string, signal: AbortSignal): Promise<void> {
    const { snapshot } = await this.#must(device)
    if (snapshot?.snapshotId == null) return missing(device)
    await this.#parts.snapshots.whole(snapshot.snapshotId, device, undefined, signal)
    this.#whole.add(snapshot.snapshotId)
  }

  async isSealed(device: string): Promise<boolean> {
    return ((await this.#parts.ledger.read(device))?.sealMark ?? null) !== null
  }

  async isIntact(device: string, { mark, proof }: Seal): Promise<boolean> {
    const entry = await this.#parts.ledger.read(device)
    if (entry === null || entry.sealMark !== mark || proof === null) return false
    return entry.snapshot?.snapshotId === proof && this.#parts.snapshots.isThere(entry.snapshot, device)
  }

  /** By what the kernel has counted on the disk as it is attached now. */
  async writtenSince(device: string, clone: string): Promise<number | null> {
    const { takenOf } = (await this.#parts.ledger.read(clone)) ?? {}
    const now = (await this.#disk(device))?.counts
    return takenOf === undefined || takenOf.device !== device || now == null ? null : bytesBetween(takenOf.counts, now)
  }

  /** The time when it was first seen with what was written to it, as far as this process has seen. */
  async generation(device: string): Promise<number> {
    const disk = await this.#disk(device)
    const known = this.#generations.get(device)
    if (disk !== null && known?.written === disk.written) return known.generation
    if (disk === null && known !== undefined) return known.generation
    if ((await this.#parts.ledger.read(device)) === null) return 0
    const generation = Math.max(microseconds(), (known?.generation ?? 0) + 1)
    this.#generations.set(device, { written: disk?.written ?? '', generation })
    return generation
  }

  /** All of it is paid for, whatever was written. */
  async usedBytes(devices: readonly string[]): Promise<Map<string, number>> {
    const found = new Map<string, number>()
    for (const device of devices) {
      const bytes = await this.sizeBytes(device)
      if (bytes !== null) found.set(device, bytes)
    }
    return found
  }

  name(device: string): string {
    return `ebs device ${device}`
  }

  async path(device: string): Promise<string> {
    const entry = await this.#must(device)
    if (entry.sizeBytes === 0) return this.name(device)
    return this.#devices.run(device, async () => {
      const found = await this.#must(device)
      if (found.passing !== undefined) {
        throw new DroverError('VOLUME_BUSY', `${this.name(device)} is on its way between two hosts; it is not attached`)
      }
      const shown = await this.#views.shown(found)
      const volumeId = this.#volumeId(shown)
      const disk = await this.#parts.attachments.attach(volumeId, device)
      if (shown.sealMark !== null) this.#parts.disks.refuseWrites(disk)
      return this.#parts.disks.link(volumeId)
    })
  }

  async mountSource(device: string): Promise<{ source: string; options: readonly string[] }> {
    return { source: await this.path(device), options: [] }
  }

  async isHeld(device: string): Promise<boolean> {
    const disk = await this.#disk(device)
    return disk !== null && (await this.#parts.disks.isClaimed(disk))
  }

  async attached(device: string): Promise<AttachedDevice | null> {
    return this.#disk(device)
  }

  /** The tags of what the volume has here follow its record; a host that knows of less leaves the volume alone. */
  async noteEpoch(id: VolumeId, epoch: number): Promise<void> {
    const { ledger, cloud, logger } = this.#parts
    const behind = (await ledger.all()).filter(
      ({ device, epoch: noted, isTagDue }) =>
        device.startsWith(`${id}.`) && (noted < epoch || (isTagDue === true && noted === epoch)),
    )
    for (const { device } of behind) {
      await this.#devices.run(device, async () => {
        const entry = await ledger.read(device)
        if (entry?.volume?.volumeId == null || entry.sealMark !== null || entry.passing !== undefined) return
        try {
          // First, and for good: a tag never says more than is known here, and one that was not answered may have been set. Nor is who owns it
          // again a stranger to it, where the tag is of a host in between that was lost.
          const { isTagDue: _, ...known } = { ...entry, epoch }
          await ledger.write({ ...known, isTagDue: true })
          // Writers may wait for this record.
          await this.#parts.volumes.mustOwn(entry.volume.volumeId, device, 10_000)
          await cloud.tag([entry.volume.volumeId], this.#making.tags(known), 30_000)
          await ledger.write(known)
        } catch (error) {
          logger.warn({ device, epoch, err: error }, 'the tag with the epoch is behind; it is set with the next record')
        }
      })
    }
  }

  /** What passing.ts does, while nothing else is done with the device. @throws DATASET_MISSING */
  pass<T>(device: string, work: (passing: Passing, entry: Entry) => Promise<T>): Promise<T> {
    return this.#devices.run(device, async () => work(this.#passing, await this.#must(device)))
  }

  /** A device that another host has told of. */
  expect(told: unknown, device: string): Promise<void> {
    return this.#devices.run(device, () => this.#passing.expect(told, device))
  }

  /** What a pool on another host has to know of a sealed device. @throws DATASET_MISSING */
  async told(device: string): Promise<ToldSnapshot> {
    const { snapshot, sealMark, sizeBytes } = await this.#must(device)
    if (snapshot?.snapshotId == null || sealMark === null) return missing(device)
    const { region } = await this.#parts.identity()
    return { device: snapshot.madeAs ?? device, region, snapshotId: snapshot.snapshotId, sizeBytes }
  }

  /** See adopting.ts. */
  adopt(device: string, told: ToldSnapshot): Promise<void> {
    return this.#devices.run(device, () => this.#adopting.adopt(device, told, microseconds()))
  }

  #dropView(device: string): Promise<void> {
    return this.#devices.run(device, () => this.#views.drop(device))
  }

  async #disk(device: string) {
    const volumeId = (await this.#parts.ledger.read(device))?.volume?.volumeId ?? null
    return volumeId === null ? null : this.#parts.disks.find(volumeId)
  }

  #volumeId(entry: Entry): string {
    return entry.volume?.volumeId ?? missing(entry.device)
  }

  async #must(device: string): Promise<Entry> {
    return (await this.#parts.ledger.read(device)) ?? missing(device)
  }
}

const missing = (device: string): never => {
  throw new DroverError('DATASET_MISSING', `there is no ebs device ${device}; nothing was made in its place`)
}

const microseconds = (): number => Math.round((performance.timeOrigin + performance.now()) * 1000)
