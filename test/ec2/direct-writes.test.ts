import { createHash, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { EBS, type StartSnapshotRequest } from '@aws-sdk/client-ebs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { temporaryDirectory } from '../support/temporary-directory.ts'
import { blockBytes, checksumOf } from './blocks.ts'
import { fileDisks } from './file-disks.ts'
import { type Ec2Options, Ec2Server, here } from './server.ts'

/* Snapshots that are written by the EBS direct API of the strict server, through the real client. A GiB of the server's has 4 blocks here. */

let server: Ec2Server
let disks: ReturnType<typeof fileDisks>
let ebs: EBS

const start = async (options: Ec2Options = {}) => {
  disks = fileDisks(await temporaryDirectory())
  server = await Ec2Server.start({ disks, unitBytes: 4 * blockBytes, ...options })
  const credentials = { accessKeyId: 'AKIATEST', secretAccessKey: 'secret' }
  ebs = new EBS({ region: here.region, endpoint: server.endpoint, maxAttempts: 1, credentials })
}
beforeEach(() => start({ times: { lag: 0 } }))
afterEach(async () => {
  ebs.destroy()
  await server.close()
})

const refused = (name: string, Reason?: string) =>
  expect.objectContaining(Reason === undefined ? { name } : { name, Reason })
const badValue = refused('ValidationException', 'INVALID_PARAMETER_VALUE')
const notWritten = refused('ValidationException', 'INVALID_SNAPSHOT_ID')

const started = async (over: Partial<StartSnapshotRequest> = {}): Promise<string> =>
  (await ebs.startSnapshot({ VolumeSize: 1, ...over })).SnapshotId ?? ''
const put = (SnapshotId: string, BlockIndex: number, BlockData: Buffer, over = {}) =>
  ebs.putSnapshotBlock({
    ...{ SnapshotId, BlockIndex, BlockData, DataLength: BlockData.length },
    ...{ Checksum: checksumOf(BlockData), ChecksumAlgorithm: 'SHA256', ...over },
  })
const linear = (...blocks: readonly Buffer[]): string => {
  const all = createHash('sha256')
  for (const block of blocks) all.update(createHash('sha256').update(block).digest())
  return all.digest('base64')
}
const complete = (SnapshotId: string, ChangedBlocksCount: number, Checksum?: string) =>
  ebs.completeSnapshot({
    ...{ SnapshotId, ChangedBlocksCount },
    ...(Checksum === undefined
      ? {}
      : { Checksum, ChecksumAlgorithm: 'SHA256', ChecksumAggregationMethod: 'LINEAR' as const }),
  })
const whole = (id: string) => expect.poll(() => server.world.snapshots.get(id)?.state).toBe('completed')

test('blocks in any order become a snapshot, upon its parent where it has one', async () => {
  const [one, two, three] = [1, 2, 3].map(() => randomBytes(blockBytes)) as [Buffer, Buffer, Buffer]
  const answer = await ebs.startSnapshot({ VolumeSize: 1, Tags: [{ Key: 'a', Value: 'b' }] })
  expect(answer).toMatchObject({ Status: 'pending', BlockSize: blockBytes, VolumeSize: 1, OwnerId: here.account })
  const first = answer.SnapshotId ?? ''
  expect(server.world.snapshots.get(first)).toMatchObject({ tags: { a: 'b' }, state: 'pending' })
  expect((await put(first, 3, two)).Checksum).toBe(checksumOf(two))
  await put(first, 0, three)
  await put(first, 0, one)
  expect((await complete(first, 2, linear(one, two))).Status).toBe('pending')
  await whole(first)
  const parent = await readFile(disks.path(first))
  expect(parent.equals(Buffer.concat([one, Buffer.alloc(2 * blockBytes), two]))).toBe(true)
  const second = await started({ ParentSnapshotId: first, VolumeSize: 2 })
  await put(second, 1, three)
  await put(second, 3, Buffer.alloc(blockBytes))
  await complete(second, 2)
  await whole(second)
  const then = await readFile(disks.path(second))
  expect(then.equals(Buffer.concat([one, three, Buffer.alloc(6 * blockBytes)]))).toBe(true)
  const { ChangedBlocks } = await ebs.listChangedBlocks({ FirstSnapshotId: first, SecondSnapshotId: second })
  expect(ChangedBlocks?.every(({ BlockIndex }) => BlockIndex === 1 || BlockIndex === 3)).toBe(true)
})

test('a client token makes one snapshot, in the same words alone', async () => {
  const token = { ClientToken: 'once' }
  server.faults.add({ action: 'StartSnapshot', kind: 'lost reply' })
  await expect(started(token)).rejects.toThrow()
  const id = await started(token)
  expect(await started(token)).toBe(id)
  expect(server.world.snapshots.all()).toHaveLength(1)
  await expect(started({ ...token, VolumeSize: 2 })).rejects.toEqual(refused('ConflictException'))
  await expect(started({ ClientToken: 'x'.repeat(65) })).rejects.toEqual(badValue)
})

test('refused: wrong checksums, lengths, places and counts; nothing of it is written', async () => {
  const id = await started()
  const block = randomBytes(blockBytes)
  await expect(put(id, 0, block, { Checksum: checksumOf(randomBytes(9)) })).rejects.toEqual(badValue)
  await expect(put(id, 0, block.subarray(1))).rejects.toEqual(badValue)
  await expect(put(id, 4, block)).rejects.toEqual(refused('ValidationException', 'INVALID_BLOCK'))
  server.faults.add({ action: 'PutSnapshotBlock', kind: 'damaged' })
  await expect(put(id, 0, block)).rejects.toEqual(badValue)
  await expect(complete(id, 1)).rejects.toEqual(badValue)
  await put(id, 0, block)
  await expect(complete(id, 0)).rejects.toEqual(badValue)
  await expect(complete(id, 1, linear(randomBytes(blockBytes)))).rejects.toEqual(badValue)
  await complete(id, 1, linear(block))
  await expect(complete(id, 1, linear(block))).rejects.toEqual(notWritten)
  await expect(put(id, 1, block)).rejects.toEqual(notWritten)
  await whole(id)
  await expect(put(id, 1, block)).rejects.toEqual(notWritten)
})

test('refused: parents that are unknown, not whole or larger, and what does not go together', async () => {
  const parent = await started({ VolumeSize: 2 })
  await expect(started({ ParentSnapshotId: parent, VolumeSize: 2 })).rejects.toEqual(notWritten)
  await complete(parent, 0)
  await whole(parent)
  const badSize = refused('ValidationException', 'INVALID_VOLUME_SIZE')
  await expect(started({ ParentSnapshotId: parent })).rejects.toEqual(badSize)
  await expect(started({ VolumeSize: 0 })).rejects.toEqual(badSize)
  await expect(started({ ParentSnapshotId: parent, VolumeSize: 2, Encrypted: true })).rejects.toEqual(badValue)
  await expect(started({ KmsKeyArn: 'alias/mine', Encrypted: true })).rejects.toEqual(badValue)
  await expect(started({ Timeout: 5 })).rejects.toEqual(badValue)
  await expect(started({ Tags: [{ Key: 'aws:x', Value: '' }] })).rejects.toEqual(
    refused('ValidationException', 'INVALID_TAG'),
  )
  await expect(started({ ParentSnapshotId: 'snap-00000000000000000' })).rejects.toEqual(
    refused('ResourceNotFoundException', 'SNAPSHOT_NOT_FOUND'),
  )
})

test('not known everywhere at once; given up when nobody goes on with it', async () => {
  await server.close()
  let behind = 1
  await start({ times: { lag: 200, minute: 5 }, random: () => behind })
  const id = await started({ Timeout: 20 })
  const block = randomBytes(blockBytes)
  await expect(put(id, 0, block)).rejects.toEqual(refused('ResourceNotFoundException', 'SNAPSHOT_NOT_FOUND'))
  behind = 0
  await put(id, 0, block)
  await expect.poll(() => server.world.snapshots.get(id)?.state).toBe('error')
  await expect(put(id, 1, block)).rejects.toEqual(notWritten)
  await expect(complete(id, 1)).rejects.toEqual(notWritten)
})
