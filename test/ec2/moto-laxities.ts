import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Ec2 } from '../../src/backends/block/ebs/ec2-client.ts'
import type { Ec2Options } from './server.ts'

/** Where a laxity is tried: two instances in one zone, and one in another. */
export interface Place {
  readonly zone: string
  readonly here: string
  readonly beside: string
  readonly elsewhere: string
}

export interface Laxity {
  readonly what: string
  /** What came of it: the code of a refusal, or a word. */
  readonly moto: string
  readonly strict: string
  /** For the strict server. */
  readonly options?: Ec2Options
  readonly call: (ec2: Ec2, place: Place) => Promise<string>
}

const asked = (place: Place, over = {}) => ({
  ...{ AvailabilityZone: place.zone, Size: 10, VolumeType: 'gp3' as const, ClientToken: randomUUID() },
  ...over,
})
const volume = async (ec2: Ec2, id: string) =>
  (await ec2.describeVolumes({ Filters: [{ Name: 'volume-id', Values: [id] }] })).Volumes?.[0]
const made = async (ec2: Ec2, place: Place, over = {}): Promise<string> => {
  const { VolumeId = '' } = await ec2.createVolume(asked(place, over))
  while ((await volume(ec2, VolumeId))?.State !== 'available') await sleep(2)
  return VolumeId
}
const names = Array.from({ length: 52 }, (_, n) => `/dev/xvd${n < 26 ? 'b' : 'c'}${String.fromCharCode(97 + (n % 26))}`)
let turn = 0
const attach = (ec2: Ec2, VolumeId: string, InstanceId: string, Device = names[turn++ % names.length]) =>
  ec2.attachVolume({ VolumeId, InstanceId, Device })
const attached = async (ec2: Ec2, place: Place): Promise<string> => {
  const id = await made(ec2, place)
  await attach(ec2, id, place.here)
  while ((await volume(ec2, id))?.Attachments?.[0]?.State !== 'attached') await sleep(2)
  return id
}
const created = (over: object) => async (ec2: Ec2, place: Place) => {
  await ec2.createVolume(asked(place, over))
  return 'done'
}

/**
 * All that is known of where moto lets pass what the strict server, and AWS by its documentation, refuses or does otherwise; and so why moto's word
 * counts for the wire format only. docs/ebs.md has the list too. Each is tried on both.
 */
export const laxities: readonly Laxity[] = [
  {
    what: 'a volume that is attached is attached again, to the same instance',
    ...{ moto: 'done', strict: 'VolumeInUse' },
    call: async (ec2, place) => {
      await attach(ec2, await attached(ec2, place), place.here)
      return 'done'
    },
  },
  {
    what: 'a volume is attached to two instances; the first is forgotten',
    ...{ moto: 'done', strict: 'VolumeInUse' },
    call: async (ec2, place) => {
      await attach(ec2, await attached(ec2, place), place.beside)
      return 'done'
    },
  },
  {
    what: 'a volume is attached to an instance in another zone',
    ...{ moto: 'done', strict: 'InvalidVolume.ZoneMismatch' },
    call: async (ec2, place) => {
      await attach(ec2, await made(ec2, place), place.elsewhere)
      return 'done'
    },
  },
  {
    what: 'two volumes are attached at one place of an instance',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: async (ec2, place) => {
      for (const id of [await made(ec2, place), await made(ec2, place)]) await attach(ec2, id, place.here, '/dev/xvdda')
      return 'done'
    },
  },
  {
    what: 'an instance takes any number of volumes',
    ...{ moto: 'done', strict: 'AttachmentLimitExceeded', options: { quotas: { attachments: 2 } } },
    call: async (ec2, place) => {
      for (let count = 0; count < 30; count += 1) await attach(ec2, await made(ec2, place), place.beside)
      return 'done'
    },
  },
  {
    what: 'a client token that is used again makes a second volume',
    ...{ moto: 'two', strict: 'one' },
    call: async (ec2, place) => {
      const request = asked(place)
      const ids = [(await ec2.createVolume(request)).VolumeId, (await ec2.createVolume(request)).VolumeId]
      return new Set(ids).size === 1 ? 'one' : 'two'
    },
  },
  {
    what: 'a client token is taken again for another request',
    ...{ moto: 'done', strict: 'IdempotentParameterMismatch' },
    call: async (ec2, place) => {
      const request = asked(place)
      await ec2.createVolume(request)
      await ec2.createVolume({ ...request, Size: 11 })
      return 'done'
    },
  },
  {
    what: 'a volume is changed twice within six hours',
    ...{ moto: 'done', strict: 'VolumeModificationRateExceeded' },
    call: async (ec2, place) => {
      const id = await made(ec2, place)
      await ec2.modifyVolume({ VolumeId: id, Size: 20 })
      await ec2.modifyVolume({ VolumeId: id, Size: 30 })
      return 'done'
    },
  },
  {
    what: 'a volume becomes smaller',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: async (ec2, place) => {
      await ec2.modifyVolume({ VolumeId: await made(ec2, place), Size: 5 })
      return 'done'
    },
  },
  {
    what: 'a volume is made smaller than its snapshot',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: async (ec2, place) => {
      const { SnapshotId = '' } = await ec2.createSnapshot({ VolumeId: await made(ec2, place) })
      const filters = [{ Name: 'snapshot-id', Values: [SnapshotId] }]
      const state = async () => (await ec2.describeSnapshots({ Filters: filters })).Snapshots?.[0]?.State
      while ((await state()) !== 'completed') await sleep(2)
      return created({ SnapshotId, Size: 5 })(ec2, place)
    },
  },
  {
    what: 'a volume has no size at all',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: created({ Size: 0 }),
  },
  {
    what: 'a volume is larger than its type can be',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: created({ Size: 90_000 }),
  },
  {
    what: 'a volume gets more IOPS than its type and size have',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: created({ Iops: 600_000 }),
  },
  {
    what: 'a volume gets more throughput than its IOPS allow',
    ...{ moto: 'done', strict: 'InvalidParameterValue' },
    call: created({ Throughput: 60_000 }),
  },
  {
    what: 'a volume is made in a zone that there is not',
    ...{ moto: 'done', strict: 'InvalidZone.NotFound' },
    call: created({ AvailabilityZone: 'xx-nowhere-1z' }),
  },
  {
    what: 'an account has no limit of storage',
    ...{ moto: 'done', strict: 'VolumeLimitExceeded', options: { quotas: { storage: 15 } } },
    call: async (ec2, place) => {
      for (const _ of [1, 2]) await ec2.createVolume(asked(place))
      return 'done'
    },
  },
  {
    what: 'an account is never throttled',
    ...{ moto: 'done', strict: 'RequestLimitExceeded', options: { throttle: { burst: 10, perSecond: 0.001 } } },
    call: async (ec2) => {
      for (let count = 0; count < 30; count += 1) await ec2.describeVolumes({ MaxResults: 5 })
      return 'done'
    },
  },
  {
    what: 'what is attached or detached is so at once',
    ...{ moto: 'attached', strict: 'attaching', options: { times: { attach: 60_000, lag: 0 } } },
    call: async (ec2, place) => {
      const id = await made(ec2, place)
      await attach(ec2, id, place.here)
      return (await volume(ec2, id))?.Attachments?.[0]?.State ?? 'nothing'
    },
  },
  {
    what: 'describes tell at once what was done',
    ...{ moto: 'there', strict: 'not yet', options: { times: { lag: 1_000_000 }, random: () => 1 } },
    call: async (ec2, place) => {
      const { VolumeId = '' } = await ec2.createVolume(asked(place))
      return (await volume(ec2, VolumeId)) === undefined ? 'not yet' : 'there'
    },
  },
]

/** Where both refuse, by other codes; the provider takes both for the same. */
export const differences: readonly Laxity[] = [
  {
    what: 'a detach of what is not attached',
    ...{ moto: 'InvalidAttachment.NotFound', strict: 'IncorrectState' },
    call: async (ec2, place) => {
      await ec2.detachVolume({ VolumeId: await made(ec2, place), InstanceId: place.here })
      return 'done'
    },
  },
  {
    what: 'io2 without IOPS, which the provider never asks for',
    ...{ moto: 'InvalidParameterDependency', strict: 'MissingParameter' },
    call: created({ VolumeType: 'io2' }),
  },
]
