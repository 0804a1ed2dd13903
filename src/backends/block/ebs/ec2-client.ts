import type { EC2 } from '@aws-sdk/client-ec2'
import { credentials } from './credentials.ts'

export type Ec2 = EC2

export interface Ec2Options {
  readonly region: string
  /** Null: AWS's own, or what the SDK finds in the environment. */
  readonly endpoint: string | null
}

const connectMs = 5_000
const answerMs = 30_000
/** Of a peer that takes a call and says nothing: by itself the SDK warns, and goes on waiting. */
const silence = { requestTimeout: answerMs, throwOnRequestTimeout: true, socketTimeout: answerMs }

/**
 * The SDK's client, with credentials as credentials.ts finds them. Loaded only here and when it is needed: it takes a quarter of a second and some
 * 90 MiB, which nobody pays who has no such pool. It tries nothing again: that is done within the budget.
 */
export const connectEc2 = async ({ region, endpoint }: Ec2Options): Promise<Ec2> => {
  const { EC2 } = await import('@aws-sdk/client-ec2')
  return new EC2({
    region,
    credentials: await credentials(),
    maxAttempts: 1,
    requestHandler: { connectionTimeout: connectMs, ...silence },
    ...(endpoint === null ? {} : { endpoint }),
  })
}
