import { filtered, paged } from './describe.ts'
import { change, checkId, lagging, mustSnapshot, mustVolume, newId, taking, type Volume, type World } from './model.ts'
import { tagSet, tagsFor } from './tags.ts'
import { type Answer, Ec2Error, type Parameters } from './wire.ts'

/** GiB, and operations a second for the whole and for each GiB. */
const types: Readonly<Record<string, { sizes: [number, number]; iops: [number, number]; perGib: number }>> = {
  gp3: { sizes: [1, 65_536], iops: [3000, 80_000], perGib: 500 },
  io2: { sizes: [4, 65_536], iops: [100, 256_000], perGib: 1000 },
}
const gp3Iops = 3000
const gp3Throughput = [125, 2000] as const
const modifyAgainMs = 6 * 3_600_000

export const createVolume = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const token = parameters.text('ClientToken')
  if (token !== null && token.length > 64) throw invalid('ClientToken', token)
  const request = parameters.without('ClientToken', 'Action', 'Version')
  const known = token === null ? undefined : world.tokens.get(token)
  if (known !== undefined) {
    if (known.request !== request) {
      throw new Ec2Error('IdempotentParameterMismatch', 'The client token was used with other parameters')
    }
    return asAnswer(mustVolume(world, known.volumeId))
  }
  const volume = newVolume(world, parameters)
  if (token !== null) world.tokens.set(token, { request, volumeId: volume.id })
  world.volumes.put(volume.id, volume)
  await world.disks.make(volume.id, volume.size * world.unitBytes, volume.snapshotId)
  world.later(taking(world, 'create'), () =>
    change(world, volume.id, (now) => (now.state === 'creating' ? { ...now, state: 'available' } : now)),
  )
  return asAnswer(volume)
}

const newVolume = (world: World, parameters: Parameters): Volume => {
  const zone = parameters.must('AvailabilityZone')
  if (!world.zones.includes(zone)) throw new Ec2Error('InvalidZone.NotFound', `The zone '${zone}' does not exist.`)
  const snapshotId = parameters.text('SnapshotId')
  const snapshot = snapshotId === null ? null : mustSnapshot(world, snapshotId)
  if (snapshot !== null && snapshot.state !== 'completed') {
    throw new Ec2Error('IncorrectState', `Snapshot '${snapshotId}' is not 'completed'.`)
  }
  const size = parameters.number('Size') ?? snapshot?.size ?? null
  if (size === null) throw new Ec2Error('MissingParameter', 'The request must contain the parameter size/snapshot')
  if (snapshot !== null && size < snapshot.size) {
    throw new Ec2Error('InvalidParameterValue', `The size ${size} is smaller than snapshot '${snapshotId}'`)
  }
  const type = parameters.text('VolumeType') ?? 'gp3'
  const limits = checkSize(type, size)
  const iops = parameters.number('Iops') ?? (type === 'gp3' ? gp3Iops : null)
  if (iops === null) throw new Ec2Error('MissingParameter', `The parameter iops must be specified for ${type} volumes.`)
  const most = Math.max(Math.min(limits.iops[1], limits.perGib * size), type === 'gp3' ? gp3Iops : 0)
  if (iops < limits.iops[0] || iops > most) throw invalid('iops', String(iops))
  const throughput = parameters.number('Throughput') ?? (type === 'gp3' ? gp3Throughput[0] : null)
  if (throughput !== null) {
    const isFit = throughput >= gp3Throughput[0] && throughput <= gp3Throughput[1] && throughput * 4 <= iops
    if (type !== 'gp3' || !isFit) throw invalid('throughput', String(throughput))
  }
  const kmsKeyId = parameters.text('KmsKeyId')
  if (kmsKeyId !== null && parameters.text('Encrypted') !== 'true') {
    throw new Ec2Error(
      'InvalidParameterDependency',
      'The parameter KmsKeyId requires the parameter Encrypted to be set.',
    )
  }
  const used = world.volumes.all().reduce((sum, each) => sum + each.size, 0)
  if (used + size > world.quotas.storage) {
    throw new Ec2Error('VolumeLimitExceeded', `You have exceeded your maximum ${type} storage limit in this region.`)
  }
  const id = newId('vol')
  return {
    ...{
      id,
      lineage: snapshot?.lineage ?? id,
      state: 'creating',
      zone,
      size,
      type,
      iops,
      throughput,
      kmsKeyId,
      snapshotId,
    },
    ...{ tags: tagsFor(parameters, 'volume'), attachment: null, createdAt: new Date().toISOString(), modifiedAt: null },
  }
}

const checkSize = (type: string, size: number) => {
  const limits = types[type]
  if (limits === undefined)
    throw new Ec2Error('UnknownVolumeType', `Unsupported volume type '${type}' for volume creation.`)
  if (size >= limits.sizes[0] && size <= limits.sizes[1]) return limits
  throw new Ec2Error('InvalidParameterValue', `Volume of ${size}GiB is not within the sizes of volume type ${type}.`)
}

const invalid = (name: string, value: string) =>
  new Ec2Error('InvalidParameterValue', `Value (${value}) for parameter ${name} is invalid.`)

export const deleteVolume = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const volume = mustVolume(world, parameters.must('VolumeId'))
  if (volume.attachment !== null) {
    throw new Ec2Error('VolumeInUse', `Volume ${volume.id} is currently attached to ${volume.attachment.instanceId}`)
  }
  if (volume.state !== 'available')
    throw new Ec2Error('IncorrectState', `The volume '${volume.id}' is '${volume.state}'.`)
  world.volumes.put(volume.id, { ...volume, state: 'deleting' })
  world.later(world.times.delete, async () => {
    world.volumes.put(volume.id, null)
    await world.disks.drop(volume.id)
  })
  return { return: true }
}

export const describeVolumes = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const at = lagging(world)
  const ids = parameters.list('VolumeId')
  const found =
    ids.length === 0
      ? world.volumes.allSeen(at)
      : ids.map((id) => {
          checkId('vol', id)
          const seen = world.volumes.seen(id, at)
          if (seen !== null) return seen
          throw new Ec2Error('InvalidVolume.NotFound', `The volume '${id}' does not exist.`)
        })
  const chosen = filtered(found, parameters, (volume) => ({
    ...{ 'volume-id': volume.id, status: volume.state, 'availability-zone': volume.zone, 'volume-type': volume.type },
    ...{ 'attachment.instance-id': volume.attachment?.instanceId ?? null },
    ...{ 'attachment.status': volume.attachment?.state ?? null, 'snapshot-id': volume.snapshotId },
  }))
  const { page, nextToken } = paged(chosen, parameters, 'VolumeId')
  return { volumeSet: page.map(asAnswer), nextToken }
}

/** What is attached sees the new size; the next change has to wait for six hours. */
export const modifyVolume = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const volume = mustVolume(world, parameters.must('VolumeId'))
  const size = parameters.number('Size') ?? volume.size
  if (volume.state !== 'available' && volume.state !== 'in-use') {
    throw new Ec2Error('IncorrectModificationState', `The volume '${volume.id}' is '${volume.state}'.`)
  }
  if (volume.modifiedAt !== null && world.now() - volume.modifiedAt < modifyAgainMs) {
    const text = `You've reached the maximum modification rate per volume limit. Wait at least 6 hours between modifications per EBS volume.`
    throw new Ec2Error('VolumeModificationRateExceeded', text)
  }
  if (size < volume.size) {
    throw new Ec2Error('InvalidParameterValue', 'New size cannot be smaller than existing size')
  }
  checkSize(volume.type, size)
  world.volumes.put(volume.id, { ...volume, modifiedAt: world.now() })
  world.later(world.times.modify, async () => {
    await world.disks.resize(volume.id, size * world.unitBytes)
    change(world, volume.id, (now) => ({ ...now, size }))
  })
  const progress = { volumeId: volume.id, modificationState: 'modifying', targetSize: size, originalSize: volume.size }
  return { volumeModification: { ...progress, progress: 0, startTime: new Date().toISOString() } }
}

export const asAnswer = (volume: Volume): Record<string, Answer> => ({
  ...{ volumeId: volume.id, size: volume.size, availabilityZone: volume.zone, status: volume.state },
  ...{ createTime: volume.createdAt, volumeType: volume.type, iops: volume.iops, throughput: volume.throughput },
  ...{ snapshotId: volume.snapshotId, encrypted: volume.kmsKeyId !== null, kmsKeyId: volume.kmsKeyId },
  multiAttachEnabled: false,
  tagSet: tagSet(volume.tags),
  attachmentSet: volume.attachment === null ? [] : [attachmentAnswer(volume)],
})

export const attachmentAnswer = ({ id, attachment }: Volume): Record<string, Answer> => ({
  ...{ volumeId: id, instanceId: attachment?.instanceId, device: attachment?.device, status: attachment?.state },
  deleteOnTermination: false,
})
