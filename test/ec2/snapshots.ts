import { filtered, paged } from './describe.ts'
import { checkId, lagging, mustSnapshot, mustVolume, newId, type Snapshot, taking, type World } from './model.ts'
import { tagSet, tagsFor } from './tags.ts'
import { type Answer, Ec2Error, type Parameters } from './wire.ts'

/** Of one volume at a time. */
const mostPending = 5

/** What the volume holds at this moment, whatever is written while it is being copied away. There are no client tokens for it. */
export const createSnapshot = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const volume = mustVolume(world, parameters.must('VolumeId'))
  if (volume.state !== 'available' && volume.state !== 'in-use') {
    throw new Ec2Error('IncorrectState', `The volume '${volume.id}' is '${volume.state}'.`)
  }
  const pending = world.snapshots.all().filter(({ volumeId, state }) => volumeId === volume.id && state === 'pending')
  if (pending.length >= mostPending) {
    throw new Ec2Error('ConcurrentSnapshotLimitExceeded', `Too many snapshots of ${volume.id} are pending`)
  }
  const snapshot: Snapshot = {
    ...{ id: newId('snap'), volumeId: volume.id, state: 'pending', size: volume.size, ownerId: world.account },
    lineage: volume.lineage,
    ...{ tags: tagsFor(parameters, 'snapshot'), startedAt: new Date().toISOString() },
  }
  const earlier = world.snapshots.all().findLast(({ lineage }) => lineage === volume.lineage) ?? null
  await world.disks.capture(volume.id, snapshot.id)
  world.snapshots.put(snapshot.id, snapshot)
  completeLater(world, snapshot, earlier)
  return asAnswer(snapshot)
}

/** Of a volume that a copy shows AWS tells an id that means nothing. */
const volumeOfCopies = 'vol-ffffffffffffffff0'
const mostCopies = 20

/** Of a whole one, from another region too. Tags do not come along, and there are no client tokens for it. */
export const copySnapshot = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const region = parameters.must('SourceRegion')
  const source = world.regions.get(region)
  if (source === undefined) {
    throw new Ec2Error('InvalidParameterValue', `Value (${region}) for parameter sourceRegion is invalid.`)
  }
  const original = mustSnapshot(source, parameters.must('SourceSnapshotId'))
  if (original.state !== 'completed') {
    throw new Ec2Error('IncorrectState', `The snapshot '${original.id}' is not 'completed'.`)
  }
  if (parameters.text('KmsKeyId') !== null && parameters.text('Encrypted') !== 'true') {
    const text = 'The parameter KmsKeyId requires the parameter Encrypted to be set.'
    throw new Ec2Error('InvalidParameterDependency', text)
  }
  const copies = world.snapshots.all().filter(({ copiedLineage }) => copiedLineage !== undefined)
  if (copies.filter(({ state }) => state === 'pending').length >= mostCopies) {
    throw new Ec2Error('ResourceLimitExceeded', 'Too many snapshot copies in progress. The limit is 20.')
  }
  const earlier = copies.findLast(
    ({ copiedLineage, state }) => copiedLineage === original.lineage && state === 'completed',
  )
  const id = newId('snap')
  const snapshot: Snapshot = {
    ...{ id, volumeId: volumeOfCopies, state: 'pending', size: original.size, ownerId: world.account },
    ...{ lineage: id, copiedLineage: original.lineage },
    ...{ tags: tagsFor(parameters, 'snapshot'), startedAt: new Date().toISOString() },
  }
  await world.disks.capture(original.id, id)
  world.snapshots.put(id, snapshot)
  completeLater(world, snapshot, earlier ?? null)
  return { snapshotId: id, tagSet: tagSet(snapshot.tags) }
}

/** What differs from the one before takes its time. */
const completeLater = (world: World, { id }: Snapshot, earlier: Snapshot | null): void => {
  const complete = () => {
    const now = world.snapshots.get(id)
    if (now !== null) world.snapshots.put(id, { ...now, state: 'completed' })
  }
  const { snapshotMib: mibMs } = world.times
  const ms = taking(world, 'snapshot')
  if (mibMs === 0) world.later(ms, complete)
  else {
    world.later(ms, async () => {
      const bytes = await world.disks.changed(id, earlier?.id ?? null)
      world.later((bytes / 2 ** 20) * mibMs, complete)
    })
  }
}

export const deleteSnapshot = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const snapshot = mustSnapshot(world, parameters.must('SnapshotId'))
  world.snapshots.put(snapshot.id, null)
  await world.disks.drop(snapshot.id)
  return { return: true }
}

/** Without an owner also those of others that are open to all. */
export const describeSnapshots = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const at = lagging(world)
  const ids = parameters.list('SnapshotId')
  const found =
    ids.length === 0
      ? world.snapshots.allSeen(at)
      : ids.map((id) => {
          checkId('snap', id)
          const seen = world.snapshots.seen(id, at)
          if (seen !== null) return seen
          throw new Ec2Error('InvalidSnapshot.NotFound', `The snapshot '${id}' does not exist.`)
        })
  const owners = parameters.list('Owner').map((owner) => (owner === 'self' ? world.account : owner))
  const theirs = found.filter(({ ownerId }) => owners.length === 0 || owners.includes(ownerId))
  const chosen = filtered(theirs, parameters, (snapshot) => ({
    ...{ 'snapshot-id': snapshot.id, 'volume-id': snapshot.volumeId, status: snapshot.state },
    'owner-id': snapshot.ownerId,
  }))
  const { page, nextToken } = paged(chosen, parameters, 'SnapshotId')
  return { snapshotSet: page.map(asAnswer), nextToken }
}

const asAnswer = (snapshot: Snapshot): Record<string, Answer> => ({
  ...{ snapshotId: snapshot.id, volumeId: snapshot.volumeId, status: snapshot.state, volumeSize: snapshot.size },
  ...{ startTime: snapshot.startedAt, progress: snapshot.state === 'completed' ? '100%' : '10%' },
  ...{ ownerId: snapshot.ownerId, encrypted: false, description: '', tagSet: tagSet(snapshot.tags) },
})
