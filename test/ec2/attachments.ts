import { change, mustVolume, taking, type Volume, type World } from './model.ts'
import { attachmentAnswer } from './volumes.ts'
import { type Answer, Ec2Error, type Parameters } from './wire.ts'

const deviceShape = /^\/dev\/(sd[a-z]|xvd[a-z]{1,2})$/
const busyMs = 20

/** One instance at a time, in the volume's own zone. */
export const attachVolume = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const volume = mustVolume(world, parameters.must('VolumeId'))
  const [instanceId, device] = [parameters.must('InstanceId'), parameters.must('Device')]
  const zone = world.instances.get(instanceId)
  if (zone === undefined) {
    throw new Ec2Error('InvalidInstanceID.NotFound', `The instance ID '${instanceId}' does not exist`)
  }
  if (!deviceShape.test(device)) {
    throw new Ec2Error('InvalidParameterValue', `Value (${device}) for parameter device is invalid.`)
  }
  if (zone !== volume.zone) {
    throw new Ec2Error(
      'InvalidVolume.ZoneMismatch',
      `The volume '${volume.id}' is not in the same availability zone as instance '${instanceId}'`,
    )
  }
  if (volume.attachment !== null) {
    throw new Ec2Error('VolumeInUse', `${volume.id} is already attached to an instance`)
  }
  if (volume.state !== 'available') throw new Ec2Error('IncorrectState', `${volume.id} is not 'available'.`)
  const there = world.volumes.all().filter(({ attachment }) => attachment?.instanceId === instanceId)
  if (there.some(({ attachment }) => attachment?.device === device)) {
    throw new Ec2Error(
      'InvalidParameterValue',
      `Invalid value '${device}' for unixDevice. Attachment point ${device} is already in use`,
    )
  }
  if (there.length >= world.quotas.attachments) {
    throw new Ec2Error('AttachmentLimitExceeded', `The instance '${instanceId}' has too many attachments`)
  }
  const attaching: Volume = { ...volume, state: 'in-use', attachment: { instanceId, device, state: 'attaching' } }
  world.volumes.put(volume.id, attaching)
  world.later(taking(world, 'attach'), async () => {
    await world.disks.attach(volume.id, instanceId)
    change(world, volume.id, (now) => {
      if (now.attachment?.state !== 'attaching') return now
      return { ...now, attachment: { ...now.attachment, state: 'attached' } }
    })
  })
  return attachmentAnswer(attaching)
}

/** Ends when the instance has let go of it; what is used there stays `busy`. */
export const detachVolume = async (world: World, parameters: Parameters): Promise<Record<string, Answer>> => {
  const volume = mustVolume(world, parameters.must('VolumeId'))
  const instanceId = parameters.text('InstanceId')
  if (volume.attachment === null) {
    throw new Ec2Error('IncorrectState', `Volume '${volume.id}' is in the '${volume.state}' state.`)
  }
  if (instanceId !== null && volume.attachment.instanceId !== instanceId) {
    throw new Ec2Error('InvalidAttachment.NotFound', `${volume.id} is not attached to instance '${instanceId}'`)
  }
  const isForced = parameters.text('Force') === 'true'
  const isUnderWay = volume.attachment.state === 'detaching' || volume.attachment.state === 'busy'
  const detaching: Volume = { ...volume, attachment: { ...volume.attachment, state: 'detaching' } }
  if (!isUnderWay) world.volumes.put(volume.id, detaching)
  if (isForced) world.stuck.delete(volume.id)
  const { instanceId: from } = volume.attachment
  if (!isUnderWay || isForced) world.later(taking(world, 'detach'), () => letGo(world, volume.id, from))
  return attachmentAnswer(detaching)
}

const letGo = async (world: World, id: string, instanceId: string): Promise<void> => {
  if (world.stuck.has(id)) return
  const saidBusyMs = world.faults.random?.busyMs() ?? 0
  const isFree = saidBusyMs === 0 && (await world.disks.detach(id, instanceId))
  change(world, id, (now) => {
    if (now.attachment === null) return now
    if (isFree) return { ...now, state: 'available', attachment: null }
    return { ...now, attachment: { ...now.attachment, state: 'busy' } }
  })
  if (!isFree) world.later(Math.max(busyMs, saidBusyMs), () => letGo(world, id, instanceId))
}
