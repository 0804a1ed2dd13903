import { DroverError } from '../../../domain/errors.ts'
import type { Clock } from '../../../lib/clock.ts'
import { KeyedMutex } from '../../../lib/mutex.ts'
import { isRefusal } from './calls.ts'
import type { Cloud, CloudVolume } from './cloud.ts'
import type { AttachedDisks, KernelDisk } from './kernel-disks.ts'
import type { Limits } from './surroundings.ts'
import type { Watch } from './watch.ts'
import { xvdNames } from './xvd-disks.ts'

interface Parts {
  readonly cloud: Cloud
  readonly watch: Watch<CloudVolume>
  readonly disks: AttachedDisks
  readonly clock: Clock
  readonly limits: Limits
  readonly instanceId: () => Promise<string>
  /** @throws DATASET_MISSING, DATASET_FOREIGN: nothing may be done to it */
  readonly mustOwn: (volumeId: string, device: string, timeoutMs?: number) => Promise<CloudVolume>
}

const lookMs = 200
const longestLookMs = 2_000
/** In the kernel it shows without a call; EC2 is asked again when that takes long. */
const firstAgainMs = 15_000
/** While another instance has it, that is asked of EC2 sooner. */
const firstElsewhereMs = 2_000

/** Names that EC2 wants for what it attaches. Where disks are NVMe the kernel gives others; these only have to be free. */
const deviceNames = xvdNames.map((name) => `/dev/${name}`)

export class Attachments {
  readonly #parts: Parts
  readonly #volumes = new KeyedMutex<string>()
  readonly #taken = new Set<string>()

  constructor(parts: Parts) {
    this.#parts = parts
  }

  /** @throws VOLUME_BUSY when another instance has it, NO_SPACE when this one has as many as it takes */
  attach(volumeId: string, device: string, timeoutMs = this.#parts.limits.attach): Promise<KernelDisk> {
    return this.#volumes.run(
      volumeId,
      async () => (await this.#linked(volumeId)) ?? this.#attach(volumeId, device, timeoutMs),
    )
  }

  /** What udev has not linked yet is not taken into use: a kernel's name may be another disk's a moment later. */
  async #linked(volumeId: string): Promise<KernelDisk | null> {
    const disk = await this.#parts.disks.find(volumeId)
    return disk?.isUnlinked === true ? null : disk
  }

  async #attach(volumeId: string, device: string, timeoutMs: number): Promise<KernelDisk> {
    const { mustOwn, clock, limits } = this.#parts
    const here = await this.#parts.instanceId()
    const startedAt = clock.monotonic()
    const endsAt = startedAt + timeoutMs
    let [lookAgainAt, lookAgainMs, elsewhereAgainMs] = [0, firstAgainMs, firstElsewhereMs]
    let isAsked = false
    for (let waitMs = lookMs; ; waitMs = Math.min(waitMs * 1.3, longestLookMs)) {
      if (clock.monotonic() >= lookAgainAt) {
        const [known] = (await mustOwn(volumeId, device)).attachments
        const isElsewhere = known !== undefined && known.instanceId !== here
        // It may have been let go there a moment ago: describes lag behind, EC2 itself refuses what is still attached.
        if (isElsewhere && clock.monotonic() - startedAt > limits.settle) {
          throw elsewhere(volumeId, device, known.instanceId)
        }
        // What is still on its way off comes back only after it has gone.
        isAsked = (known !== undefined && !isElsewhere) || (await this.#ask(volumeId, here))
        lookAgainAt = clock.monotonic() + (isElsewhere ? elsewhereAgainMs : lookAgainMs)
        if (isElsewhere) elsewhereAgainMs *= 1.5
        else lookAgainMs *= 2
      } else if (!isAsked) isAsked = await this.#ask(volumeId, here)
      const disk = await this.#linked(volumeId)
      if (disk !== null) return disk
      if (clock.monotonic() > endsAt) throw await this.#late(volumeId, device, timeoutMs)
      await clock.sleep(waitMs)
    }
  }

  /** False: to be asked again. */
  async #ask(volumeId: string, here: string): Promise<boolean> {
    const name = this.#freeName()
    this.#taken.add(name)
    if ((await this.#parts.disks.expect?.(volumeId, name)) === false) return false
    try {
      await this.#parts.cloud.attach(volumeId, here, name)
      return true
    } catch (error) {
      // Asked before, and the answer was lost; or somebody else was quicker: the kernel shows which, and else the deadline tells.
      if (isRefusal(error, 'VolumeInUse')) return true
      if (isRefusal(error, 'IncorrectState', 'InvalidVolume.NotFound')) return false
      if (isRefusal(error, 'InvalidParameterValue') && /already in use/.test(error.message)) return false
      if (isRefusal(error, 'AttachmentLimitExceeded')) {
        throw new DroverError(
          'NO_SPACE',
          `instance ${here} has as many volumes attached as it takes; remove some, or use a larger instance`,
          { cause: error },
        )
      }
      throw error
    }
  }

  #freeName(): string {
    if (this.#taken.size >= deviceNames.length) this.#taken.clear()
    const free = deviceNames.filter((name) => !this.#taken.has(name))
    return free[Math.floor(Math.random() * free.length)] ?? '/dev/xvdba'
  }

  async #late(volumeId: string, device: string, timeoutMs: number): Promise<DroverError> {
    const { mustOwn, instanceId } = this.#parts
    const here = await instanceId()
    const [known] = (await mustOwn(volumeId, device)).attachments
    if (known !== undefined && known.instanceId !== here) return elsewhere(volumeId, device, known.instanceId)
    const unlinked = await this.#parts.disks.find(volumeId)
    if (unlinked !== null) {
      return new DroverError(
        'TIMED_OUT',
        `volume ${volumeId} (${device}) is ${unlinked.path} here, and udev made no link ${this.#parts.disks.link(volumeId)} within ${seconds(timeoutMs)} s; see that udev runs (udevadm trigger)`,
      )
    }
    return new DroverError(
      'TIMED_OUT',
      `volume ${volumeId} (${device}) did not show on instance ${here} within ${seconds(timeoutMs)} s; EC2 says ${known?.state ?? 'not attached'}`,
    )
  }

  /** Ends when EC2 says that no instance has it, and the kernel shows it no more. @throws VOLUME_BUSY, TIMED_OUT with instance and device named */
  detach(volumeId: string, device: string, timeoutMs = this.#parts.limits.detach): Promise<void> {
    return this.#volumes.run(volumeId, async () => {
      const { cloud, disks, watch, clock, limits, mustOwn } = this.#parts
      const here = await this.#parts.instanceId()
      const endsAt = clock.monotonic() + timeoutMs
      const disk = await disks.find(volumeId)
      if (disk !== null && ((await disks.isClaimed(disk)) || (await disks.isOpen(disk)))) {
        throw new DroverError(
          'VOLUME_BUSY',
          `${disk.path}, volume ${volumeId} (${device}), is in use; it is not detached`,
        )
      }
      const [known] = (await mustOwn(volumeId, device, timeoutMs)).attachments
      // What the kernel shows is here, whatever older answers say.
      if (disk === null) await this.mayBeDetached(volumeId, device, known)
      let isGone = false
      try {
        await cloud.detach(volumeId, here, endsAt - clock.monotonic())
      } catch (error) {
        // It is on its way already, or has gone.
        if (!isRefusal(error, 'IncorrectState', 'InvalidVolume.NotFound', 'InvalidAttachment.NotFound')) throw error
        isGone = isRefusal(error, 'InvalidVolume.NotFound')
      }
      const toldAt = clock.monotonic() + 2 * limits.settle
      // Not to be seen is one that was deleted, or an answer of before it was made.
      const isLoose = (seen: CloudVolume | null) =>
        isFree(seen) || seen?.state === 'deleting' || (seen === null && (isGone || clock.monotonic() > toldAt))
      const late = (seen: CloudVolume | null) => {
        const { instanceId = here, device: name = 'unknown' } = seen?.attachments[0] ?? known ?? {}
        return stuck({ volumeId, device, instanceId, name, timeoutMs })
      }
      // An answer from before it was attached says free, too.
      do {
        if (clock.monotonic() > endsAt) throw late(null)
        await watch.until(volumeId, isLoose, endsAt - clock.monotonic(), late)
      } while ((await disks.find(volumeId)) !== null)
    })
  }

  /**
   * Of a volume that this host does not find: EC2 says that another instance has it, or this one at a name where it would not be found, by somebody else's
   * hand, so that it may be in use. @throws VOLUME_BUSY
   */
  async mayBeDetached(volumeId: string, device: string, known: CloudVolume['attachments'][number] | undefined) {
    const { disks, instanceId } = this.#parts
    if (known === undefined) return
    if (known.instanceId !== (await instanceId())) throw elsewhere(volumeId, device, known.instanceId)
    if ((await disks.sees?.(known.device)) !== false) return
    throw new DroverError(
      'VOLUME_BUSY',
      `volume ${volumeId} (${device}) is attached here as ${known.device}, not by Drover: whether it is in use is not known; detach it by hand`,
      { details: { volumeId, device: known.device } },
    )
  }

  /**
   * From an instance that is gone for good, by an operator's word; where it is not attached there (any more), nothing is done. Its tags and who has it are
   * looked at before each call, and the call names that instance, so that nothing else can be meant.
   * @throws StuckDetach when it has not let go in time, DATASET_FOREIGN
   */
  evict(volumeId: string, device: string, gone: string, { timeoutMs, force }: Eviction): Promise<void> {
    return this.#volumes.run(volumeId, async () => {
      const { cloud, watch, clock, mustOwn } = this.#parts
      const endsAt = clock.monotonic() + timeoutMs
      const [known] = (await mustOwn(volumeId, device, timeoutMs)).attachments
      if (known?.instanceId !== gone) return
      try {
        if (force) await cloud.forceDetach(volumeId, gone, timeoutMs)
        else await cloud.detach(volumeId, gone, timeoutMs)
      } catch (error) {
        if (!isRefusal(error, 'IncorrectState', 'InvalidVolume.NotFound', 'InvalidAttachment.NotFound')) throw error
      }
      await watch.until(volumeId, isFree, endsAt - clock.monotonic(), (seen) => {
        const [left] = seen?.attachments ?? []
        const error = { volumeId, device, instanceId: gone, name: left?.device ?? known.device, timeoutMs }
        // Of what is not known to be still there nothing is said that would have it forced.
        if (left?.instanceId === gone) return stuck(error)
        return new DroverError(
          'TIMED_OUT',
          `EC2 does not tell who has volume ${volumeId} (${device}); it is tried again`,
        )
      })
    })
  }
}

interface Eviction {
  readonly timeoutMs: number
  readonly force: boolean
}

/** EC2 was told to detach it, and says that the instance still has it. */
export class StuckDetach extends DroverError {}

const isFree = (seen: CloudVolume | null): boolean => seen?.state === 'available' && seen.attachments.length === 0

interface Stuck {
  readonly volumeId: string
  readonly device: string
  readonly instanceId: string
  /** EC2's for where it is attached. */
  readonly name: string
  readonly timeoutMs: number
}

const stuck = ({ volumeId, device, instanceId, name, timeoutMs }: Stuck): StuckDetach =>
  new StuckDetach(
    'TIMED_OUT',
    `volume ${volumeId} (${device}) did not detach from instance ${instanceId}, where it is ${name}, within ${seconds(timeoutMs)} s; see that nothing there uses it, or stop that instance. Drover forces no detach but from a host that vol cancel --target-lost says is lost`,
    { details: { volumeId, instanceId, device: name } },
  )

const seconds = (ms: number): number => Math.round(ms / 1000)

const elsewhere = (volumeId: string, device: string, instanceId: string): DroverError =>
  new DroverError(
    'VOLUME_BUSY',
    `volume ${volumeId} (${device}) is attached to instance ${instanceId}; detach it there first. Drover never takes it away`,
    { details: { volumeId, instanceId } },
  )
