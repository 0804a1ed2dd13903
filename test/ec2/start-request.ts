import { invalid } from './direct-wire.ts'
import type { Tags } from './model.ts'

export interface StartRequest {
  readonly token: string | null
  /** All but the token: two requests are the same when these texts are. */
  readonly request: string
  /** GiB. */
  readonly size: number
  readonly parentId: string | null
  readonly tags: Tags
  /** Minutes. */
  readonly timeout: number
  /** What is told again in the answer. */
  readonly told: Readonly<Record<string, unknown>>
}

const mostGib = 65_536
const mostTags = 50
const keys = [
  ...['VolumeSize', 'ParentSnapshotId', 'Tags', 'Description', 'ClientToken', 'Encrypted', 'KmsKeyArn', 'Timeout'],
]

const badValue = (message: string) => invalid('INVALID_PARAMETER_VALUE', message)

/** The body of StartSnapshot. @throws ValidationException */
export const startIn = (body: Buffer): StartRequest => {
  const fields = fieldsIn(body)
  for (const key of Object.keys(fields)) if (!keys.includes(key)) throw badValue(`There is no parameter ${key}`)
  const { ClientToken: token = null, ...rest } = fields
  const { VolumeSize: size, ParentSnapshotId: parentId = null, Encrypted, KmsKeyArn, Timeout: timeout = 60 } = rest
  if (!isWhole(size) || size < 1 || size > mostGib) {
    throw invalid('INVALID_VOLUME_SIZE', `A volume has 1 to ${mostGib} GiB, not ${size}`)
  }
  if (parentId !== null && typeof parentId !== 'string') throw badValue('ParentSnapshotId is no text')
  if (token !== null && (typeof token !== 'string' || !/^[\x20-\x7e]{1,64}$/.test(token))) {
    throw badValue('A client token has at most 64 characters of ASCII')
  }
  if (parentId !== null && Encrypted !== undefined) {
    throw badValue('ParentSnapshotId and Encrypted cannot be specified together')
  }
  if (KmsKeyArn !== undefined && (Encrypted !== true || !/^arn:aws[\w-]*:kms:/.test(String(KmsKeyArn)))) {
    throw badValue('KmsKeyArn is the ARN of a key, and requires Encrypted')
  }
  if (!isWhole(timeout) || timeout < 10 || timeout > 60) throw badValue('Timeout is 10 to 60 minutes')
  const tags = tagsIn(rest.Tags ?? [])
  const request = JSON.stringify(Object.entries(rest).toSorted(([one], [other]) => (one < other ? -1 : 1)))
  return { token, request, size, parentId, tags, timeout, told: rest }
}

const fieldsIn = (body: Buffer): Record<string, unknown> => {
  try {
    const value: unknown = JSON.parse(body.toString())
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  } catch {
    // Said below.
  }
  throw badValue('The request is no JSON object')
}

const isWhole = (value: unknown): value is number => Number.isSafeInteger(value)

const tagsIn = (list: unknown): Tags => {
  const tags: Record<string, string> = {}
  for (const tag of Array.isArray(list) ? list : []) {
    const [key, value] = [String(tag?.Key ?? ''), String(tag?.Value ?? '')]
    const isFit = key !== '' && !key.startsWith('aws:') && key.length <= 127 && value.length <= 255
    if (!isFit || Object.hasOwn(tags, key)) throw invalid('INVALID_TAG', `The tag '${key.slice(0, 32)}' is invalid`)
    tags[key] = value
  }
  if (Object.keys(tags).length > mostTags) throw invalid('INVALID_TAG', `A snapshot has at most ${mostTags} tags`)
  return tags
}
