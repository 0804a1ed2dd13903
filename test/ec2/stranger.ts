import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { tag } from '../../src/backends/block/ebs/tags.ts'

type Tags = Readonly<Record<string, string>>

/** On whatever a stranger makes, beside its other tags: who cleans up after a test finds it by the cluster that was tested. */
export const strangerTag = 'drover-test'

/** Somebody else in the account, by calls to EC2 alone: works on a real one too. */
export class Stranger {
  readonly #ec2: Ec2
  readonly #cluster: string
  readonly #zone: string
  readonly #lookMs: number

  /** @param cluster the one that is tested @param lookMs between two looks at what takes time */
  constructor(ec2: Ec2, { cluster, zone, lookMs }: { cluster: string; zone: string; lookMs: number }) {
    this.#ec2 = ec2
    this.#cluster = cluster
    this.#zone = zone
    this.#lookMs = lookMs
  }

  /** A GiB that nobody asked for. @returns its id */
  async volume(tags: Tags, snapshotId?: string): Promise<string> {
    const { VolumeId: id = '' } = await this.#ec2.createVolume({
      ...{ AvailabilityZone: this.#zone, VolumeType: 'gp3', ClientToken: randomUUID() },
      ...(snapshotId === undefined ? { Size: 1 } : { SnapshotId: snapshotId }),
      TagSpecifications: [{ ResourceType: 'volume', Tags: asTags(tags) }],
    })
    await this.#until(async () => (await this.#volumes([id])).at(0)?.State === 'available')
    return id
  }

  async snapshot(volumeId: string, tags: Tags): Promise<string> {
    const { SnapshotId: id = '' } = await this.#ec2.createSnapshot({
      VolumeId: volumeId,
      TagSpecifications: [{ ResourceType: 'snapshot', Tags: asTags(tags) }],
    })
    await this.#until(async () => (await this.#snapshots([id])).at(0)?.State === 'completed')
    return id
  }

  /** Puts another snapshot, with the same content and tags, in the place of this one. */
  async replace(snapshotId: string): Promise<void> {
    const [old] = await this.#snapshots([snapshotId])
    const tags = Object.fromEntries((old?.Tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]))
    const between = await this.volume({ [strangerTag]: this.#cluster }, snapshotId)
    await this.snapshot(between, tags)
    await this.#ec2.deleteSnapshot({ SnapshotId: snapshotId })
    await this.#ec2.deleteVolume({ VolumeId: between })
    await this.#until(async () => (await this.#snapshots([snapshotId])).length === 0)
  }

  /** Volumes and snapshots that are not the cluster's, as like its own as can be. */
  async plant() {
    const device = `${'d'.repeat(26)}.${randomUUID()}`
    const likely = { [tag.device]: device, [tag.volume]: 'd'.repeat(26), [tag.epoch]: '1' }
    const marked = { [strangerTag]: this.#cluster }
    const kinds = [{}, { Name: 'somebody' }, likely, { ...likely, [tag.cluster]: this.#cluster.replace(/^./, 'x') }]
    const volumes: string[] = []
    const snapshots: string[] = []
    for (const tags of kinds) {
      const id = await this.volume({ ...tags, ...marked })
      volumes.push(id)
      snapshots.push(await this.snapshot(id, { ...tags, ...marked }))
    }
    const look = async () => JSON.stringify([await this.#volumes(volumes), await this.#snapshots(snapshots)])
    const before = await look()
    return {
      ...{ device, ids: [...volumes, ...snapshots] },
      untouched: async () => (await look()) === before,
      remove: async () => {
        for (const id of volumes) await this.#ec2.deleteVolume({ VolumeId: id })
        for (const id of snapshots) await this.#ec2.deleteSnapshot({ SnapshotId: id })
      },
    }
  }

  async #volumes(ids: readonly string[]) {
    const answer = await this.#ec2.describeVolumes({ Filters: [{ Name: 'volume-id', Values: [...ids] }] })
    return (answer.Volumes ?? []).toSorted(byKey(({ VolumeId }) => VolumeId))
  }

  async #snapshots(ids: readonly string[]) {
    const filters = [{ Name: 'snapshot-id', Values: [...ids] }]
    const answer = await this.#ec2.describeSnapshots({ OwnerIds: ['self'], Filters: filters })
    return (answer.Snapshots ?? []).toSorted(byKey(({ SnapshotId }) => SnapshotId))
  }

  async #until(isSo: () => Promise<boolean>): Promise<void> {
    while (!(await isSo())) await sleep(this.#lookMs)
  }
}

const asTags = (tags: Tags) => Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))

const byKey =
  <T>(key: (each: T) => string | undefined) =>
  (one: T, other: T): number =>
    (key(one) ?? '') < (key(other) ?? '') ? -1 : 1
