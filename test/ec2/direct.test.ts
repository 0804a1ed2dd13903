import { randomBytes } from 'node:crypto'
import { open } from 'node:fs/promises'
import { EBS } from '@aws-sdk/client-ebs'
import { EC2 } from '@aws-sdk/client-ec2'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { blockBytes, checksumOf } from './blocks.ts'
import { fileDisks } from './file-disks.ts'
import { type Ec2Options, Ec2Server, here } from './server.ts'

/* The EBS direct API of the strict server, asked by the real client. A GiB of the server's has 300 blocks here. */

let server: Ec2Server
let disks: ReturnType<typeof fileDisks>
let ebs: EBS
let ec2: EC2

const start = async (options: Ec2Options = {}) => {
  disks = fileDisks(await temporaryDirectory())
  server = await Ec2Server.start({ disks, unitBytes: 300 * blockBytes, ...options })
  const common = { region: here.region, endpoint: server.endpoint, maxAttempts: 1 }
  const credentials = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' }
  ebs = new EBS({ ...common, credentials })
  ec2 = new EC2({ ...common, credentials })
}
beforeEach(() => start({ times: { lag: 0 } }))
afterEach(async () => {
  ebs.destroy()
  ec2.destroy()
  await server.close()
})

const refused = (name: string, Reason?: string) =>
  expect.objectContaining(Reason === undefined ? { name } : { name, Reason })

const blank = async (): Promise<string> => {
  const { VolumeId = '' } = await ec2.createVolume({ AvailabilityZone: here.zone, Size: 1 })
  await expect.poll(() => server.world.volumes.get(VolumeId)?.state).toBe('available')
  return VolumeId
}
const write = async (volumeId: string, index: number, bytes: Buffer) => {
  const file = await open(disks.path(volumeId), 'r+')
  await file.write(bytes, 0, bytes.length, index * blockBytes).finally(() => file.close())
}
const snapshot = async (volumeId: string): Promise<string> => {
  const { SnapshotId = '' } = await ec2.createSnapshot({ VolumeId: volumeId })
  await expect.poll(() => server.world.snapshots.get(SnapshotId)?.state).toBe('completed')
  return SnapshotId
}
const pages = async <T extends { NextToken?: string | undefined }>(ask: (NextToken?: string) => Promise<T>) => {
  const found = [await ask()]
  for (let next = found[0]?.NextToken; next !== undefined; next = found.at(-1)?.NextToken) found.push(await ask(next))
  return found
}
const blocksOf = async (SnapshotId: string) =>
  (await pages((NextToken) => ebs.listSnapshotBlocks({ SnapshotId, MaxResults: 100, NextToken }))).flatMap(
    ({ Blocks }) => Blocks ?? [],
  )
const bytesOf = async (SnapshotId: string, BlockIndex: number, BlockToken: string | undefined) => {
  const answer = await ebs.getSnapshotBlock({ SnapshotId, BlockIndex, BlockToken })
  return { ...answer, bytes: Buffer.from((await answer.BlockData?.transformToByteArray()) ?? []) }
}

test('what was written of a snapshot, in order, in pages, and its bytes with their checksum', async () => {
  const volume = await blank()
  const bytes = randomBytes(blockBytes)
  for (let index = 10; index < 260; index += 1) await write(volume, index, bytes.subarray(index))
  const id = await snapshot(volume)
  const answers = await pages((NextToken) => ebs.listSnapshotBlocks({ SnapshotId: id, MaxResults: 100, NextToken }))
  expect(answers.length).toBeGreaterThan(2)
  expect(answers[0]).toMatchObject({ BlockSize: blockBytes, VolumeSize: 1, ExpiryTime: expect.any(Date) })
  const found = await blocksOf(id)
  expect(found.map(({ BlockIndex }) => BlockIndex)).toEqual(Array.from({ length: 250 }, (_, index) => 10 + index))
  const last = await pages((NextToken) =>
    ebs.listSnapshotBlocks({ SnapshotId: id, StartingBlockIndex: 259, NextToken }),
  )
  expect(last.flatMap(({ Blocks }) => Blocks?.map(({ BlockIndex }) => BlockIndex))).toEqual([259])
  // Stricter than AWS, which does not say what it makes of it.
  await expect(ebs.listSnapshotBlocks({ SnapshotId: id, StartingBlockIndex: 400 })).rejects.toEqual(
    refused('ValidationException', 'INVALID_PARAMETER_VALUE'),
  )
  const one = await bytesOf(id, 259, found.at(-1)?.BlockToken)
  expect(one.bytes.subarray(0, blockBytes - 259).equals(bytes.subarray(259))).toBe(true)
  expect([one.DataLength, one.ChecksumAlgorithm, one.Checksum]).toEqual([blockBytes, 'SHA256', checksumOf(one.bytes)])
})

test('what changed between two snapshots of one lineage; the token of the first is absent where it has no such block', async () => {
  const volume = await blank()
  for (const index of [1, 2, 3]) await write(volume, index, randomBytes(blockBytes))
  const first = await snapshot(volume)
  await write(volume, 2, randomBytes(100))
  await write(volume, 3, Buffer.alloc(blockBytes))
  await write(volume, 200, randomBytes(100))
  const second = await snapshot(volume)
  const changed = async (FirstSnapshotId: string, SecondSnapshotId: string) =>
    (await pages((NextToken) => ebs.listChangedBlocks({ FirstSnapshotId, SecondSnapshotId, NextToken }))).flatMap(
      ({ ChangedBlocks }) => ChangedBlocks ?? [],
    )
  const found = await changed(first, second)
  expect(found).toEqual([
    { BlockIndex: 2, FirstBlockToken: expect.any(String), SecondBlockToken: expect.any(String) },
    { BlockIndex: 3, FirstBlockToken: expect.any(String), SecondBlockToken: expect.any(String) },
    { BlockIndex: 200, SecondBlockToken: expect.any(String) },
  ])
  await bytesOf(first, 2, found[0]?.FirstBlockToken)
  await expect(bytesOf(first, 2, found[0]?.SecondBlockToken)).rejects.toEqual(
    refused('ValidationException', 'INVALID_BLOCK_TOKEN'),
  )
  expect(await changed(second, second)).toEqual([])
  // A volume made of the snapshot is of its lineage; a blank one is not.
  const { VolumeId = '' } = await ec2.createVolume({ AvailabilityZone: here.zone, SnapshotId: first })
  await expect.poll(() => server.world.volumes.get(VolumeId)?.state).toBe('available')
  expect(await changed(second, await snapshot(VolumeId))).toHaveLength(3)
  const other = await snapshot(await blank())
  await expect(changed(first, other)).rejects.toEqual(refused('ValidationException', 'UNRELATED_SNAPSHOTS'))
})

test('refused: too many at once, the unknown, others’ own, and what is not whole yet', async () => {
  await server.close()
  await start({ times: { lag: 0, snapshot: 100_000 } })
  const { SnapshotId = '' } = await ec2.createSnapshot({ VolumeId: await blank() })
  const list = (id: string, over = {}) => ebs.listSnapshotBlocks({ SnapshotId: id, ...over })
  await expect(list(SnapshotId)).rejects.toEqual(refused('ValidationException', 'INVALID_SNAPSHOT_ID'))
  await expect(list('vol-1')).rejects.toEqual(refused('ValidationException', 'INVALID_SNAPSHOT_ID'))
  for (const id of ['snap-00000000000000000', server.plantSnapshot({}, '999999999999')]) {
    await expect(list(id)).rejects.toEqual(refused('ResourceNotFoundException', 'SNAPSHOT_NOT_FOUND'))
  }
  const planted = server.plantSnapshot({})
  await expect(list(planted, { MaxResults: 10_001 })).rejects.toEqual(
    refused('ValidationException', 'INVALID_PARAMETER_VALUE'),
  )
  await expect(list(planted, { NextToken: 'bm8=' })).rejects.toEqual(
    refused('ValidationException', 'INVALID_PAGE_TOKEN'),
  )
})

test('tokens expire: of blocks, and of pages', async () => {
  await server.close()
  await start({ times: { lag: 0, blockToken: 1, pageToken: 1 }, random: () => 0.5 })
  const volume = await blank()
  for (let index = 0; index < 150; index += 1) await write(volume, index, Buffer.from([1]))
  const id = await snapshot(volume)
  const { Blocks, NextToken } = await ebs.listSnapshotBlocks({ SnapshotId: id, MaxResults: 100 })
  await expect(bytesOf(id, 0, Blocks?.[0]?.BlockToken)).rejects.toEqual(
    refused('ValidationException', 'INVALID_BLOCK_TOKEN'),
  )
  await expect(ebs.listSnapshotBlocks({ SnapshotId: id, NextToken })).rejects.toEqual(
    refused('ValidationException', 'INVALID_PAGE_TOKEN'),
  )
})

test('throttled by itself, denied, failing, cut, damaged, unsigned, unknown', async () => {
  await server.close()
  await start({ times: { lag: 0 }, random: () => 0.5, directThrottle: { burst: 4, perSecond: 0.001 } })
  const volume = await blank()
  await write(volume, 0, randomBytes(blockBytes))
  const SnapshotId = await snapshot(volume)
  for (const kind of ['denied', 'failing', 'throttled', 'lost reply'] as const) {
    server.faults.add({ action: 'ListSnapshotBlocks', kind })
  }
  const list = () => ebs.listSnapshotBlocks({ SnapshotId })
  await expect(list()).rejects.toEqual(refused('AccessDeniedException'))
  await expect(list()).rejects.toEqual(refused('InternalServerException'))
  await expect(list()).rejects.toEqual(refused('RequestThrottledException', 'ACCOUNT_THROTTLED'))
  await expect(list()).rejects.toThrow()
  const { Blocks } = await list()
  server.faults.add({ action: 'GetSnapshotBlock', kind: 'damaged' })
  const { bytes, Checksum } = await bytesOf(SnapshotId, 0, Blocks?.[0]?.BlockToken)
  expect(checksumOf(bytes)).not.toBe(Checksum)
  const one = await bytesOf(SnapshotId, 0, Blocks?.[0]?.BlockToken)
  expect(checksumOf(one.bytes)).toBe(one.Checksum)
  const unsigned = await fetch(`${server.endpoint}/snapshots/${SnapshotId}/blocks`)
  expect([unsigned.status, unsigned.headers.get('x-amzn-errortype')]).toEqual([403, 'AccessDeniedException'])
  await expect(list()).rejects.toEqual(refused('RequestThrottledException'))
  await ec2.describeVolumes({})
  expect(server.calls()).toContain('GetSnapshotBlock')
})
