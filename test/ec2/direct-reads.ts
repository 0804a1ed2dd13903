import { createHash } from 'node:crypto'
import { blockBytes } from './blocks.ts'
import { isTokenFor, tokenFor } from './direct-tokens.ts'
import { type DirectAnswer, DirectError, type DirectRequest, invalid, numberIn } from './direct-wire.ts'
import type { Snapshot, World } from './model.ts'

const fewest = 100
const most = 10_000

export const mustBeWhole = (world: World, id: string): Snapshot => {
  if (!/^snap-[0-9a-f]+$/.test(id)) throw invalid('INVALID_SNAPSHOT_ID', `The snapshot ID '${id}' is malformed`)
  const found = world.snapshots.get(id)
  if (found === null || found.ownerId !== world.account) {
    throw new DirectError(
      'ResourceNotFoundException',
      'SNAPSHOT_NOT_FOUND',
      `The snapshot '${id}' does not exist.`,
      404,
    )
  }
  if (found.state === 'completed') return found
  throw invalid('INVALID_SNAPSHOT_ID', `The snapshot '${id}' is '${found.state}', not 'completed'`)
}

const blockOf = (snapshotId: string, index: number): string => `${snapshotId} ${index}`

/** Blocks that hold something, in order. */
export const listSnapshotBlocks = async (world: World, request: DirectRequest): Promise<DirectAnswer> => {
  const snapshot = mustBeWhole(world, request.snapshotId)
  // AWS does not say what it makes of one beyond the end.
  const from = numberIn(request.query, 'startingBlockIndex') ?? 0
  if (from * blockBytes >= snapshot.size * world.unitBytes) {
    throw invalid('INVALID_PARAMETER_VALUE', `startingBlockIndex ${from} is beyond the end of '${snapshot.id}'`)
  }
  const indexes = [...(await world.disks.blocks(snapshot.id)).keys()]
  const { page, expiresAt, rest } = paged(world, request, snapshot.id, indexes)
  const blocks = page.map((index) => ({
    BlockIndex: index,
    BlockToken: tokenFor(blockOf(snapshot.id, index), expiresAt),
  }))
  return { status: 200, body: { Blocks: blocks, ...rest, VolumeSize: snapshot.size, BlockSize: blockBytes } }
}

/** Blocks that differ between two snapshots of one lineage; the first one's token is absent where it has no such block. */
export const listChangedBlocks = async (world: World, request: DirectRequest): Promise<DirectAnswer> => {
  const second = mustBeWhole(world, request.snapshotId)
  const firstId = request.query.get('firstSnapshotId')
  if (firstId === null) throw invalid('INVALID_PARAMETER_VALUE', 'firstSnapshotId must be specified')
  const first = mustBeWhole(world, firstId)
  if (first.lineage !== second.lineage) {
    throw invalid('UNRELATED_SNAPSHOTS', `${first.id} and ${second.id} are not of one volume`)
  }
  const [then, now] = [await world.disks.blocks(first.id), await world.disks.blocks(second.id)]
  const indexes = [...new Set([...then.keys(), ...now.keys()])]
    .filter((index) => then.get(index) !== now.get(index))
    .toSorted((one, other) => one - other)
  const { page, expiresAt, rest } = paged(world, request, `${first.id} ${second.id}`, indexes)
  const token = (id: string, index: number, isThere: boolean) =>
    isThere ? tokenFor(blockOf(id, index), expiresAt) : undefined
  const blocks = page.map((index) => ({
    BlockIndex: index,
    FirstBlockToken: token(first.id, index, then.has(index)),
    // AWS says of the first alone that it may be absent.
    SecondBlockToken: token(second.id, index, true),
  }))
  return { status: 200, body: { ChangedBlocks: blocks, ...rest, VolumeSize: second.size, BlockSize: blockBytes } }
}

/** At most as many as were asked for, sometimes fewer, or none although there are more: who asks goes on until there is no token. */
const paged = (world: World, { query }: DirectRequest, list: string, indexes: readonly number[]) => {
  const asked = numberIn(query, 'maxResults') ?? most
  if (asked > most) throw invalid('INVALID_PARAMETER_VALUE', `maxResults is ${fewest} to ${most}`)
  const token = query.get('pageToken')
  const from = token === null ? (numberIn(query, 'startingBlockIndex') ?? 0) : startOf(world, token, list)
  const left = indexes.filter((index) => index >= from)
  const whole = Math.min(Math.max(asked, fewest), world.quotas.blocksAPage)
  const page = left.slice(0, world.random() < 0.2 ? 0 : Math.ceil(whole * (1 - world.random() / 2)))
  const next = left[page.length]
  const expiresAt = world.now() + world.times.blockToken
  const rest = {
    ExpiryTime: Math.floor((Date.now() + world.times.blockToken) / 1000),
    ...(next === undefined ? {} : { NextToken: pageToken(world, list, next) }),
  }
  return { page, expiresAt, rest }
}

const pageOf = (list: string, from: number): string => `page ${list} ${from}`

/** The place first: a token says where it goes on, and is good for this list alone. */
const pageToken = (world: World, list: string, from: number): string => {
  const place = Buffer.alloc(9)
  place.writeDoubleLE(from)
  const until = world.now() + world.times.pageToken
  return Buffer.concat([place, Buffer.from(tokenFor(pageOf(list, from), until), 'base64')]).toString('base64')
}

const startOf = (world: World, token: string, list: string): number => {
  const bytes = Buffer.from(token, 'base64')
  const from = bytes.length < 9 ? Number.NaN : bytes.readDoubleLE(0)
  if (isTokenFor(bytes.subarray(9).toString('base64'), pageOf(list, from), world.now())) return from
  throw invalid('INVALID_PAGE_TOKEN', 'The page token is not valid, or has expired')
}

export const getSnapshotBlock = async (world: World, request: DirectRequest): Promise<DirectAnswer> => {
  const snapshot = mustBeWhole(world, request.snapshotId)
  const index = request.blockIndex ?? -1
  const token = request.query.get('blockToken') ?? ''
  if (!isTokenFor(token, blockOf(snapshot.id, index), world.now())) {
    throw invalid('INVALID_BLOCK_TOKEN', `The token is not of block ${index} of ${snapshot.id}, or has expired`)
  }
  const body = await world.disks.readBlock(snapshot.id, index)
  const checksum = createHash('sha256').update(body).digest('base64')
  return {
    status: 200,
    headers: {
      'x-amz-Data-Length': String(blockBytes),
      'x-amz-Checksum': checksum,
      'x-amz-Checksum-Algorithm': 'SHA256',
    },
    body,
  }
}
