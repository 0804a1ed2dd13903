import { DroverError } from '../domain/errors.ts'

/** The EC2 instance that this process runs on. */
export interface InstanceIdentity {
  readonly instanceId: string
  /** Empty where it is not told. */
  readonly account: string
  readonly zone: string
  readonly region: string
}

const answerMs = 2_000

/** Where AWS's own programs are told another place by the same name. */
const standardEndpoint = (): string => process.env.AWS_EC2_METADATA_SERVICE_ENDPOINT ?? 'http://169.254.169.254'

/** Asked of the instance's own metadata, of version 2 only. @throws BAD_CONFIG where there is none */
export const instanceIdentity = async (endpoint = standardEndpoint()): Promise<InstanceIdentity> => {
  try {
    const token = await ask(`${endpoint}/latest/api/token`, 'PUT', { 'x-aws-ec2-metadata-token-ttl-seconds': '300' })
    const text = await ask(`${endpoint}/latest/dynamic/instance-identity/document`, 'GET', {
      'x-aws-ec2-metadata-token': token,
    })
    const document: unknown = JSON.parse(text)
    if (isDocument(document)) {
      const account = 'accountId' in document && typeof document.accountId === 'string' ? document.accountId : ''
      return { instanceId: document.instanceId, account, zone: document.availabilityZone, region: document.region }
    }
    throw new Error('the identity document is not understood')
  } catch (error) {
    throw new DroverError(
      'BAD_CONFIG',
      `this is no EC2 instance, or its metadata (IMDSv2 at ${endpoint}) does not answer: ${error instanceof Error ? error.message : error}; an EBS pool works only on an instance`,
      { cause: error },
    )
  }
}

const ask = async (url: string, method: 'GET' | 'PUT', headers: Readonly<Record<string, string>>): Promise<string> => {
  const response = await fetch(url, { method, headers, signal: AbortSignal.timeout(answerMs) })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${url}: HTTP ${response.status}`)
  return text
}

const isDocument = (value: unknown): value is { instanceId: string; availabilityZone: string; region: string } =>
  typeof value === 'object' &&
  value !== null &&
  'instanceId' in value &&
  typeof value.instanceId === 'string' &&
  'availabilityZone' in value &&
  typeof value.availabilityZone === 'string' &&
  'region' in value &&
  typeof value.region === 'string'
