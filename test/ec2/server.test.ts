import { EC2 } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { instanceIdentity } from '../../src/lib/instance-metadata.ts'
import { plantForeign } from './foreign.ts'
import { abroad, type Ec2Options, Ec2Server, elsewhere, here } from './server.ts'

let server: Ec2Server
let ec2: EC2
const start = async (options: Ec2Options = {}) => {
  server = await Ec2Server.start(options)
  const credentials = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' }
  ec2 = new EC2({ region: here.region, endpoint: server.endpoint, maxAttempts: 1, credentials })
}
beforeEach(() => start({ times: { lag: 0 } }))
afterEach(async () => {
  ec2.destroy()
  await server.close()
})

const asked = { AvailabilityZone: here.zone, Size: 10, VolumeType: 'gp3' } as const
const refused = (code: string) => expect.objectContaining({ name: code })

const volume = async (id: string) => (await ec2.describeVolumes({ VolumeIds: [id] })).Volumes?.[0]
const snapshot = async (id: string) => (await ec2.describeSnapshots({ SnapshotIds: [id] })).Snapshots?.[0]

const made = async (over = {}): Promise<string> => {
  const { VolumeId = '' } = await ec2.createVolume({ ...asked, ...over })
  await expect.poll(async () => (await volume(VolumeId))?.State).toBe('available')
  return VolumeId
}
const attach = (id: string, to = here.instanceId, Device = '/dev/xvdba') =>
  ec2.attachVolume({ VolumeId: id, InstanceId: to, Device })
const attached = async (): Promise<string> => {
  const id = await made()
  await attach(id)
  await expect.poll(async () => (await volume(id))?.Attachments?.[0]?.State).toBe('attached')
  return id
}

describe('volumes', () => {
  test('one that is made, tagged, and deleted, in states that take time', async () => {
    await server.close()
    await start({ times: { lag: 0, create: 1_000 } })
    const answer = await ec2.createVolume({
      ...asked,
      TagSpecifications: [{ ResourceType: 'volume', Tags: [{ Key: 'a&b', Value: '<"1">' }] }],
    })
    expect(answer).toMatchObject({ State: 'creating', Size: 10, Iops: 3000, Throughput: 125 })
    const id = answer.VolumeId ?? ''
    await expect(ec2.deleteVolume({ VolumeId: id })).rejects.toEqual(refused('IncorrectState'))
    await expect.poll(async () => (await volume(id))?.State, { timeout: 10_000 }).toBe('available')
    await ec2.createTags({ Resources: [id], Tags: [{ Key: 'c', Value: '2' }] })
    const found = await ec2.describeVolumes({ Filters: [{ Name: 'tag:c', Values: ['1', '2'] }] })
    expect(found.Volumes?.[0]?.Tags).toEqual([
      { Key: 'a&b', Value: '<"1">' },
      { Key: 'c', Value: '2' },
    ])
    await ec2.deleteVolume({ VolumeId: id })
    await expect.poll(() => volume(id).catch((error: Error) => error.name)).toBe('InvalidVolume.NotFound')
  })

  test('a client token makes one, however often; with another request it is refused', async () => {
    const first = await ec2.createVolume({ ...asked, ClientToken: 'token' })
    const again = await ec2.createVolume({ ...asked, ClientToken: 'token' })
    expect(again.VolumeId).toBe(first.VolumeId)
    const other = ec2.createVolume({ ...asked, Size: 11, ClientToken: 'token' })
    await expect(other).rejects.toEqual(refused('IdempotentParameterMismatch'))
    expect(server.world.volumes.all()).toHaveLength(1)
  })

  test.each([
    [{ AvailabilityZone: 'eu-test-1z' }, 'InvalidZone.NotFound'],
    [{ Size: 0 }, 'InvalidParameterValue'],
    [{ VolumeType: 'io2' as const }, 'MissingParameter'],
    [{ VolumeType: 'io2' as const, Size: 3, Iops: 1000 }, 'InvalidParameterValue'],
    [{ Iops: 6000 }, 'InvalidParameterValue'],
    [{ Throughput: 1000 }, 'InvalidParameterValue'],
    [{ KmsKeyId: 'key' }, 'InvalidParameterDependency'],
    [{ Size: 60_000 }, 'VolumeLimitExceeded'],
    [{ SnapshotId: 'snap-00000000000000000' }, 'InvalidSnapshot.NotFound'],
    [{ ClientToken: 'x'.repeat(65) }, 'InvalidParameterValue'],
  ])('%j: %s', async (over, code) => {
    await expect(ec2.createVolume({ ...asked, ...over })).rejects.toEqual(refused(code))
    expect(server.world.volumes.all()).toEqual([])
  })

  test('grown once, and again after six hours; never smaller', async () => {
    const id = await made()
    await expect(ec2.modifyVolume({ VolumeId: id, Size: 9 })).rejects.toEqual(refused('InvalidParameterValue'))
    const { VolumeModification } = await ec2.modifyVolume({ VolumeId: id, Size: 20 })
    expect(VolumeModification).toMatchObject({ ModificationState: 'modifying', OriginalSize: 10, TargetSize: 20 })
    await expect.poll(async () => (await volume(id))?.Size).toBe(20)
    await expect(ec2.modifyVolume({ VolumeId: id, Size: 30 })).rejects.toEqual(
      refused('VolumeModificationRateExceeded'),
    )
  })

  test('pages, filters, and a filter that is none', async () => {
    for (let count = 0; count < 6; count += 1) server.plant({ n: String(count) })
    const first = await ec2.describeVolumes({ MaxResults: 5 })
    const second = await ec2.describeVolumes({ MaxResults: 5, NextToken: first.NextToken })
    expect([first.Volumes?.length, second.Volumes?.length, second.NextToken]).toEqual([5, 1, undefined])
    const filters = [{ Name: 'colour', Values: ['red'] }]
    await expect(ec2.describeVolumes({ Filters: filters })).rejects.toEqual(refused('InvalidParameterValue'))
  })
})

describe('attachments', () => {
  test('one at a time, in its own zone, at a place that is free', async () => {
    const id = await made()
    await expect(attach(id, elsewhere.instanceId)).rejects.toEqual(refused('InvalidVolume.ZoneMismatch'))
    await expect(attach(id, 'i-00000000000000000')).rejects.toEqual(refused('InvalidInstanceID.NotFound'))
    expect((await attach(id)).State).toBe('attaching')
    await expect(attach(id)).rejects.toEqual(refused('VolumeInUse'))
    await expect(attach(await made())).rejects.toEqual(refused('InvalidParameterValue'))
    await expect(ec2.deleteVolume({ VolumeId: id })).rejects.toEqual(refused('VolumeInUse'))
  })

  test('detached in a while; of the detached: IncorrectState', async () => {
    const id = await attached()
    const wrong = ec2.detachVolume({ VolumeId: id, InstanceId: elsewhere.instanceId })
    await expect(wrong).rejects.toEqual(refused('InvalidAttachment.NotFound'))
    expect((await ec2.detachVolume({ VolumeId: id })).State).toBe('detaching')
    await expect.poll(async () => (await volume(id))?.State).toBe('available')
    await expect(ec2.detachVolume({ VolumeId: id })).rejects.toEqual(refused('IncorrectState'))
  })

  test('a detach that hangs ends by force only', async () => {
    const id = await attached()
    server.world.stuck.add(id)
    await ec2.detachVolume({ VolumeId: id })
    await new Promise((resolve) => setTimeout(resolve, 30))
    await ec2.detachVolume({ VolumeId: id })
    expect((await volume(id))?.Attachments?.[0]?.State).toBe('detaching')
    await ec2.detachVolume({ VolumeId: id, Force: true })
    await expect.poll(async () => (await volume(id))?.State).toBe('available')
  })
})

test('snapshots: pending, whole, a volume made of one, open ones of others only without an owner', async () => {
  await server.close()
  await start({ times: { lag: 0, snapshot: 1_000 } })
  const id = await made()
  const { SnapshotId = '', State } = await ec2.createSnapshot({ VolumeId: id })
  expect(State).toBe('pending')
  await expect(ec2.createVolume({ ...asked, SnapshotId })).rejects.toEqual(refused('IncorrectState'))
  await expect.poll(async () => (await snapshot(SnapshotId))?.State, { timeout: 10_000 }).toBe('completed')
  await expect(ec2.createVolume({ ...asked, SnapshotId, Size: 5 })).rejects.toEqual(refused('InvalidParameterValue'))
  expect((await ec2.createVolume({ AvailabilityZone: here.zone, SnapshotId })).Size).toBe(10)
  plantForeign(server, 'c'.repeat(26))
  expect((await ec2.describeSnapshots({})).Snapshots).toHaveLength(6)
  expect((await ec2.describeSnapshots({ OwnerIds: ['self'] })).Snapshots).toHaveLength(5)
  await ec2.deleteSnapshot({ SnapshotId })
  await expect(ec2.deleteSnapshot({ SnapshotId })).rejects.toEqual(refused('InvalidSnapshot.NotFound'))
})

test('describes lag behind what was done', async () => {
  await server.close()
  await start({ times: { lag: 1_000_000 }, random: () => 1 })
  const { VolumeId = '' } = await ec2.createVolume(asked)
  await expect(volume(VolumeId)).rejects.toEqual(refused('InvalidVolume.NotFound'))
  expect((await ec2.describeVolumes({})).Volumes).toEqual([])
  expect((await ec2.createTags({ Resources: [VolumeId], Tags: [{ Key: 'a', Value: 'b' }] })).$metadata.attempts).toBe(1)
})

test('throttled, unknown and unsigned calls are refused; a fault comes once', async () => {
  await server.close()
  await start({ throttle: { burst: 2, perSecond: 0.001 } })
  await ec2.describeVolumes({})
  await ec2.describeInstances({}).catch((error: Error) => expect(error.name).toBe('InvalidAction'))
  await expect(ec2.describeVolumes({})).rejects.toEqual(refused('RequestLimitExceeded'))
  const body = 'Action=DescribeVolumes&Version=2016-11-15'
  const unsigned = await fetch(server.endpoint, { method: 'POST', body })
  expect([unsigned.status, await unsigned.text()]).toEqual([401, expect.stringContaining('<Code>AuthFailure</Code>')])
  expect(server.calls()).toHaveLength(4)
})

test('a lost reply: it was done', async () => {
  server.faults.add({ action: 'CreateVolume', kind: 'lost reply' })
  server.faults.add({ action: 'CreateVolume', kind: 'lost request' })
  server.faults.add({ action: 'CreateVolume', kind: 'failing' })
  for (const count of [1, 1, 1]) {
    await expect(ec2.createVolume(asked)).rejects.toThrow()
    expect(server.world.volumes.all()).toHaveLength(count)
  }
  await ec2.createVolume(asked)
})

test('metadata: by version 2 only', async () => {
  expect(await instanceIdentity(server.endpoint)).toEqual({
    ...{ instanceId: here.instanceId, zone: here.zone, region: here.region, account: here.account },
  })
  expect((await fetch(`${server.endpoint}/latest/meta-data/instance-id`)).status).toBe(401)
  expect((await fetch(`${server.endpoint}/latest/api/token`)).status).toBe(405)
  const { endpoint } = server
  await server.close()
  await expect(instanceIdentity(endpoint)).rejects.toMatchObject({ code: 'BAD_CONFIG' })
})

describe('another region', () => {
  const credentials = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' }
  const clientOf = (region: string) => new EC2({ region, endpoint: server.endpoint, maxAttempts: 1, credentials })

  test('has volumes and snapshots of its own; a whole snapshot is copied there, its tags are not', async () => {
    const there = clientOf(abroad.region)
    Object.assign(server.world.times, { snapshot: 200 })
    const { SnapshotId = '' } = await ec2.createSnapshot({ VolumeId: await made() })
    const copy = { SourceRegion: here.region, SourceSnapshotId: SnapshotId }
    await expect(there.copySnapshot(copy)).rejects.toEqual(refused('IncorrectState'))
    await expect.poll(async () => (await snapshot(SnapshotId))?.State).toBe('completed')
    await expect(there.describeSnapshots({ SnapshotIds: [SnapshotId] })).rejects.toEqual(
      refused('InvalidSnapshot.NotFound'),
    )
    await expect(there.createVolume(asked)).rejects.toEqual(refused('InvalidZone.NotFound'))
    const Tags = [{ Key: 'a', Value: 'b' }]
    const copied = await there.copySnapshot({ ...copy, TagSpecifications: [{ ResourceType: 'snapshot', Tags }] })
    const seen = async () => (await there.describeSnapshots({ SnapshotIds: [copied.SnapshotId ?? ''] })).Snapshots?.[0]
    expect(await seen()).toMatchObject({ State: 'pending', Tags, VolumeSize: 10 })
    await expect.poll(async () => (await seen())?.State).toBe('completed')
    await expect(there.copySnapshot({ ...copy, KmsKeyId: 'key' })).rejects.toEqual(
      refused('InvalidParameterDependency'),
    )
    await expect(there.copySnapshot({ ...copy, SourceRegion: 'eu-none-1' })).rejects.toEqual(
      refused('InvalidParameterValue'),
    )
    there.destroy()
    const nowhere = clientOf('eu-none-1')
    await expect(nowhere.describeVolumes({})).rejects.toEqual(refused('AuthFailure'))
    nowhere.destroy()
  })
})
