import type { Snapshot, Tag, Volume } from '@aws-sdk/client-ec2'
import type { CallOptions, Calls } from './calls.ts'
import type { Ec2 } from './ec2-client.ts'
import type { VolumeRequest } from './ledger.ts'
import type { Tags } from './tags.ts'

export interface CloudVolume {
  readonly id: string
  readonly state: string
  readonly gib: number
  readonly tags: Tags
  /** Of the one instance that has it; several: volumes that Drover did not make. */
  readonly attachments: readonly { readonly instanceId: string; readonly device: string; readonly state: string }[]
}

export interface CloudSnapshot {
  readonly id: string
  readonly state: string
  readonly gib: number
  readonly tags: Tags
}

export interface SnapshotPlace {
  readonly region: string
  readonly snapshotId: string
}

/** How long who asks waits for it. */
export interface Asking {
  /** Absent: as long as it takes. */
  readonly timeoutMs?: number | undefined
  /** Nobody waits for it any more. */
  readonly signal?: AbortSignal | undefined
}

/** A filter takes so many values. */
const mostValues = 200

/** EC2's volumes and snapshots, in our own words. Which error means what is up to the callers. */
export class Cloud {
  readonly #connect: () => Promise<Ec2>
  readonly #calls: Calls
  #client: Promise<Ec2> | null = null

  constructor(connect: () => Promise<Ec2>, calls: Calls) {
    this.#connect = connect
    this.#calls = calls
  }

  /** Those that there are, as far as EC2 knows at the moment: what was made a moment ago may be missing. */
  async volumes(ids: readonly string[], timeoutMs?: number): Promise<CloudVolume[]> {
    const found: CloudVolume[] = []
    for (let at = 0; at < ids.length; at += mostValues) {
      found.push(...(await this.#volumesBy('volume-id', ids.slice(at, at + mostValues), timeoutMs)))
    }
    return found
  }

  volumesTagged(key: string, value: string, timeoutMs?: number): Promise<CloudVolume[]> {
    return this.#volumesBy(`tag:${key}`, [value], timeoutMs)
  }

  /** At which of its names an instance has which volume; null where two are told of. */
  async namesOf(instanceId: string, timeoutMs: number): Promise<Map<string, string | null>> {
    const names = new Map<string, string | null>()
    for (const { id, attachments } of await this.#volumesBy('attachment.instance-id', [instanceId], timeoutMs)) {
      const here = attachments.find((each) => each.instanceId === instanceId)
      if (here !== undefined) names.set(here.device, names.has(here.device) ? null : id)
    }
    return names
  }

  async #volumesBy(name: string, values: readonly string[], timeoutMs?: number): Promise<CloudVolume[]> {
    const options = againFor(timeoutMs)
    const found: CloudVolume[] = []
    let token: string | undefined
    do {
      const answer = await this.#calls.make('DescribeVolumes', options, async () =>
        (await this.#ec2()).describeVolumes({
          Filters: [{ Name: name, Values: [...values] }],
          ...(token === undefined ? {} : { NextToken: token }),
        }),
      )
      found.push(...(answer.Volumes ?? []).map(volumeOf))
      token = answer.NextToken || undefined
    } while (token !== undefined)
    return found
  }

  /** Asked again with the same token and request it is the same volume. */
  async createVolume(token: string, request: VolumeRequest): Promise<string> {
    const answer = await this.#calls.make('CreateVolume', { again: true }, async () =>
      (await this.#ec2()).createVolume({
        ...{ ClientToken: token, AvailabilityZone: request.zone, Size: request.gib, VolumeType: request.type },
        Iops: request.iops,
        ...(request.throughput === null ? {} : { Throughput: request.throughput }),
        ...(request.snapshotId === null ? {} : { SnapshotId: request.snapshotId }),
        ...(request.kmsKeyId === null ? {} : { Encrypted: true, KmsKeyId: request.kmsKeyId }),
        TagSpecifications: [{ ResourceType: 'volume', Tags: asTags(request.tags) }],
      }),
    )
    return answer.VolumeId ?? nothing('CreateVolume')
  }

  async deleteVolume(id: string): Promise<void> {
    await this.#calls.make('DeleteVolume', { again: true }, async () =>
      (await this.#ec2()).deleteVolume({ VolumeId: id }),
    )
  }

  /** Asked again after a lost answer it is refused with VolumeInUse. */
  async attach(id: string, instanceId: string, device: string): Promise<void> {
    await this.#calls.make('AttachVolume', { again: true }, async () =>
      (await this.#ec2()).attachVolume({ VolumeId: id, InstanceId: instanceId, Device: device }),
    )
  }

  /** Asked again after a lost answer it may be refused with IncorrectState. */
  async detach(id: string, instanceId: string, timeoutMs?: number): Promise<void> {
    await this.#calls.make('DetachVolume', againFor(timeoutMs), async () =>
      (await this.#ec2()).detachVolume({ VolumeId: id, InstanceId: instanceId }),
    )
  }

  /** As if the instance were not there: what it has not written yet is lost, and what it shows as that disk fails. Only `Passing.reclaim` does it. */
  async forceDetach(id: string, instanceId: string, timeoutMs: number): Promise<void> {
    await this.#calls.make('DetachVolume', { again: true, timeoutMs }, async () =>
      (await this.#ec2()).detachVolume({ VolumeId: id, InstanceId: instanceId, Force: true }),
    )
  }

  async grow(id: string, gib: number): Promise<void> {
    await this.#calls.make('ModifyVolume', { again: true }, async () =>
      (await this.#ec2()).modifyVolume({ VolumeId: id, Size: gib }),
    )
  }

  async tag(ids: readonly string[], tags: Tags, timeoutMs: number): Promise<void> {
    await this.#calls.make('CreateTags', { again: true, timeoutMs }, async () =>
      (await this.#ec2()).createTags({ Resources: [...ids], Tags: asTags(tags) }),
    )
  }

  /** There are no client tokens for it: after an UnansweredCall the caller has to look whether there is one. */
  async createSnapshot(volumeId: string, tags: Tags, { timeoutMs, signal }: Asking = {}): Promise<string> {
    const options = { ...againFor(timeoutMs), again: false, ...(signal === undefined ? {} : { signal }) }
    const answer = await this.#calls.make('CreateSnapshot', options, async () =>
      (await this.#ec2()).createSnapshot({
        VolumeId: volumeId,
        TagSpecifications: [{ ResourceType: 'snapshot', Tags: asTags(tags) }],
      }),
    )
    return answer.SnapshotId ?? nothing('CreateSnapshot')
  }

  /**
   * A copy, in this region, of one that another region has. Without a key it is encrypted as the other is, by this region's default. There are no client
   * tokens for it either.
   */
  async copySnapshot(from: SnapshotPlace, kmsKeyId: string | null, tags: Tags): Promise<string> {
    const answer = await this.#calls.make('CopySnapshot', { again: false }, async () =>
      (await this.#ec2()).copySnapshot({
        ...{ SourceRegion: from.region, SourceSnapshotId: from.snapshotId },
        ...(kmsKeyId === null ? {} : { Encrypted: true, KmsKeyId: kmsKeyId }),
        TagSpecifications: [{ ResourceType: 'snapshot', Tags: asTags(tags) }],
      }),
    )
    return answer.SnapshotId ?? nothing('CopySnapshot')
  }

  async deleteSnapshot(id: string): Promise<void> {
    await this.#calls.make('DeleteSnapshot', { again: true }, async () =>
      (await this.#ec2()).deleteSnapshot({ SnapshotId: id }),
    )
  }

  snapshots(ids: readonly string[]): Promise<CloudSnapshot[]> {
    return this.#snapshotsBy('snapshot-id', ids)
  }

  snapshotsTagged(key: string, value: string): Promise<CloudSnapshot[]> {
    return this.#snapshotsBy(`tag:${key}`, [value])
  }

  async #snapshotsBy(name: string, values: readonly string[]): Promise<CloudSnapshot[]> {
    const answer = await this.#calls.make('DescribeSnapshots', { again: true }, async () =>
      (await this.#ec2()).describeSnapshots({ OwnerIds: ['self'], Filters: [{ Name: name, Values: [...values] }] }),
    )
    return (answer.Snapshots ?? []).map(snapshotOf)
  }

  #ec2(): Promise<Ec2> {
    this.#client ??= this.#connect()
    return this.#client
  }
}

const againFor = (timeoutMs: number | undefined): CallOptions =>
  timeoutMs === undefined ? { again: true } : { again: true, timeoutMs }

const volumeOf = (volume: Volume): CloudVolume => ({
  ...{ id: volume.VolumeId ?? '', state: volume.State ?? '', gib: volume.Size ?? 0, tags: tagsIn(volume.Tags) },
  attachments: (volume.Attachments ?? []).map(({ InstanceId, Device, State }) => ({
    ...{ instanceId: InstanceId ?? '', device: Device ?? '', state: State ?? '' },
  })),
})

const snapshotOf = (snapshot: Snapshot): CloudSnapshot => ({
  ...{ id: snapshot.SnapshotId ?? '', state: snapshot.State ?? '', gib: snapshot.VolumeSize ?? 0 },
  tags: tagsIn(snapshot.Tags),
})

const tagsIn = (tags: readonly Tag[] | undefined): Tags =>
  Object.fromEntries((tags ?? []).map(({ Key, Value }) => [Key ?? '', Value ?? '']))

const asTags = (tags: Tags): Tag[] => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))

const nothing = (action: string): never => {
  throw new Error(`${action} was answered without an id`)
}
