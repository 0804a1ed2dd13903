import { checkId, mustSnapshot, mustVolume, type Tags, type World } from './model.ts'
import { type Answer, Ec2Error, type Parameters } from './wire.ts'

const mostTags = 50

/** `Tag.1.Key`, `Tag.1.Value` and so on. */
const tagsIn = (parameters: Parameters): Tags => {
  const tags: Record<string, string> = {}
  for (const group of parameters.groups('Tag')) {
    const [key, value] = [group.must('Key'), group.text('Value') ?? '']
    if (key.startsWith('aws:')) {
      throw new Ec2Error('InvalidParameterValue', "Tag keys starting with 'aws:' are reserved for internal use")
    }
    if (key.length > 127 || value.length > 255) {
      throw new Ec2Error('InvalidParameterValue', `Tag ${key.slice(0, 32)} exceeds the maximum length`)
    }
    if (Object.hasOwn(tags, key)) throw new Ec2Error('InvalidParameterValue', `Duplicate tag key '${key}' specified.`)
    tags[key] = value
  }
  return checked(tags)
}

const checked = (tags: Tags): Tags => {
  if (Object.keys(tags).length <= mostTags) return tags
  throw new Ec2Error('TagLimitExceeded', 'The maximum number of Tags for a resource has been reached.')
}

/** Tags that a new thing is made with. */
export const tagsFor = (parameters: Parameters, kind: 'volume' | 'snapshot'): Tags => {
  for (const group of parameters.groups('TagSpecification')) {
    if (group.must('ResourceType') !== kind) {
      throw new Ec2Error('InvalidParameterValue', `'${group.text('ResourceType')}' is not a valid taggable type here`)
    }
    return tagsIn(group)
  }
  return {}
}

export const tagSet = (tags: Tags): Answer => Object.entries(tags).map(([key, value]) => ({ key, value }))

export const createTags = (world: World, parameters: Parameters): Record<string, Answer> => {
  const tags = tagsIn(parameters)
  const ids = parameters.list('ResourceId')
  if (ids.length === 0) parameters.must('ResourceId.1')
  for (const id of ids) {
    if (id.startsWith('snap-')) mustSnapshot(world, id)
    else {
      checkId('vol', id)
      mustVolume(world, id)
    }
  }
  for (const id of ids) {
    if (id.startsWith('snap-')) {
      const snapshot = mustSnapshot(world, id)
      world.snapshots.put(id, { ...snapshot, tags: checked({ ...snapshot.tags, ...tags }) })
    } else {
      const volume = mustVolume(world, id)
      world.volumes.put(id, { ...volume, tags: checked({ ...volume.tags, ...tags }) })
    }
  }
  return { return: true }
}
