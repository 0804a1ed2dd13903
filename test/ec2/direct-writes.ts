import { createHash } from 'node:crypto'
import { blockBytes, checksumOf } from './blocks.ts'
import { mustBeWhole } from './direct-reads.ts'
import { type DirectAnswer, DirectError, type DirectRequest, invalid, numberOf } from './direct-wire.ts'
import { lagging, newId, type Snapshot, type World, type Writing } from './model.ts'
import { startIn } from './start-request.ts'

const badValue = (message: string) => invalid('INVALID_PARAMETER_VALUE', message)

/** Pending until it is completed; in error when nobody goes on with it. With a token of before: what came of that, if it was asked in the same words. */
export const startSnapshot = async (world: World, { body }: DirectRequest): Promise<DirectAnswer> => {
  const { token, request, size, parentId, tags, timeout, told } = startIn(body)
  const known = token === null ? undefined : world.startTokens.get(token)
  if (known !== undefined) {
    if (known.request !== request) {
      throw new DirectError('ConflictException', null, 'The client token was used with other parameters.', 409)
    }
    const snapshot = world.snapshots.get(known.snapshotId)
    if (snapshot !== null) return started(snapshot, told)
  }
  const parent = parentId === null ? null : mustBeWhole(world, parentId)
  if (parent !== null && size < parent.size) {
    throw invalid('INVALID_VOLUME_SIZE', `The volume size ${size} is smaller than that of '${parent.id}'`)
  }
  const id = newId('snap')
  const snapshot: Snapshot = {
    ...{ id, volumeId: 'vol-ffffffff', lineage: parent?.lineage ?? id, state: 'pending', size, tags },
    ...{ ownerId: world.account, startedAt: new Date().toISOString() },
  }
  const timeoutMs = timeout * world.times.minute
  world.writings.set(id, {
    ...{ written: new Map(), busy: new Set(), timeoutMs, touchedAt: world.now(), isCompleting: false },
  })
  if (token !== null) world.startTokens.set(token, { request, snapshotId: id })
  world.snapshots.put(id, snapshot)
  await world.disks.start(id, size * world.unitBytes, parent?.id ?? null)
  const giveUp = () => {
    const [now, writing] = [world.snapshots.get(id), world.writings.get(id)]
    if (now?.state !== 'pending' || writing === undefined || writing.isCompleting) return
    const left = writing.touchedAt + timeoutMs - world.now()
    if (left > 0) world.later(left, giveUp)
    else world.snapshots.put(id, { ...now, state: 'error' })
  }
  world.later(timeoutMs, giveUp)
  return started(snapshot, told)
}

const started = (snapshot: Snapshot, told: Readonly<Record<string, unknown>>): DirectAnswer => ({
  status: 201,
  body: {
    ...{ ...told, SnapshotId: snapshot.id, OwnerId: snapshot.ownerId, Status: snapshot.state, BlockSize: blockBytes },
    StartTime: Date.parse(snapshot.startedAt) / 1000,
  },
})

/** One that is being written. What was started a moment ago may not be known everywhere. */
const mustBeWritten = (world: World, id: string): { snapshot: Snapshot; writing: Writing } => {
  const [snapshot, writing] = [world.snapshots.get(id), world.writings.get(id)]
  if (snapshot === null || (writing !== undefined && world.snapshots.seen(id, lagging(world)) === null)) {
    throw new DirectError(
      'ResourceNotFoundException',
      'SNAPSHOT_NOT_FOUND',
      `The snapshot '${id}' does not exist.`,
      404,
    )
  }
  if (writing !== undefined && snapshot.state === 'pending' && !writing.isCompleting) return { snapshot, writing }
  throw invalid('INVALID_SNAPSHOT_ID', `The snapshot '${id}' is not being written`)
}

export const putSnapshotBlock = async (world: World, request: DirectRequest): Promise<DirectAnswer> => {
  const { snapshot, writing } = mustBeWritten(world, request.snapshotId)
  const { body, headers } = request
  const index = request.blockIndex ?? -1
  if ((index + 1) * blockBytes > snapshot.size * world.unitBytes) {
    throw invalid('INVALID_BLOCK', `Block ${index} is beyond the end of ${snapshot.id}`)
  }
  const length = numberOf('DataLength', headerOf(request, 'x-amz-data-length') ?? 'none')
  if (length !== blockBytes || body.length !== blockBytes) {
    throw badValue(`A block has ${blockBytes} bytes, not ${length} or ${body.length}`)
  }
  if (headers['x-amz-checksum-algorithm'] !== 'SHA256') throw badValue('The algorithm of checksums is SHA256')
  const checksum = checksumOf(body)
  if (headers['x-amz-checksum'] !== checksum) throw badValue('The checksum does not match the data')
  if (writing.busy.has(index)) {
    throw invalid('CONFLICTING_BLOCK_UPDATE', `Block ${index} of ${snapshot.id} is being written`)
  }
  writing.busy.add(index)
  try {
    await world.disks.writeBlock(snapshot.id, index, body)
  } finally {
    writing.busy.delete(index)
  }
  writing.written.set(index, createHash('sha256').update(body).digest())
  writing.touchedAt = world.now()
  return {
    status: 201,
    headers: { 'x-amz-Checksum': checksum, 'x-amz-Checksum-Algorithm': 'SHA256' },
    body: {},
  }
}

/** How many blocks were written has to be told; their checksums in the order of the blocks may be. Once: what is completed is not completed again. */
export const completeSnapshot = async (world: World, request: DirectRequest): Promise<DirectAnswer> => {
  const { snapshot, writing } = mustBeWritten(world, request.snapshotId)
  const { written, busy } = writing
  const count = numberOf('ChangedBlocksCount', headerOf(request, 'x-amz-changedblockscount') ?? 'none')
  if (count !== written.size || busy.size > 0) throw badValue(`${written.size} blocks were written, not ${count}`)
  const [checksum, algorithm, method] = [
    headerOf(request, 'x-amz-checksum'),
    headerOf(request, 'x-amz-checksum-algorithm'),
    headerOf(request, 'x-amz-checksum-aggregation-method'),
  ]
  if (checksum !== null || algorithm !== null || method !== null) {
    if (algorithm !== 'SHA256' || method !== 'LINEAR') throw badValue('Checksums are SHA256, aggregated LINEAR')
    const all = createHash('sha256')
    for (const index of [...written.keys()].toSorted((one, other) => one - other)) {
      all.update(written.get(index) ?? Buffer.alloc(0))
    }
    if (all.digest('base64') !== checksum) throw badValue('The checksum does not match those of the blocks')
  }
  writing.isCompleting = true
  world.later(world.times.snapshot, () => {
    const now = world.snapshots.get(snapshot.id)
    if (now !== null) world.snapshots.put(snapshot.id, { ...now, state: 'completed' })
    world.writings.delete(snapshot.id)
  })
  return { status: 202, body: { Status: 'pending' } }
}

const headerOf = ({ headers }: DirectRequest, name: string): string | null => {
  const value = headers[name]
  return typeof value === 'string' ? value : null
}
