import type { EBS } from '@aws-sdk/client-ebs'
import { credentials } from '../credentials.ts'
import type { Ec2Options } from '../ec2-client.ts'

export type Ebs = EBS

const connectMs = 5_000
/** One connection that is dead must not use up the time after which nothing has come: the call is made again on another. */
export const answerMs = 9_000
/** Of a peer that takes a call and says nothing: by itself the SDK warns, and goes on waiting. */
const silence = { requestTimeout: answerMs, throwOnRequestTimeout: true, socketTimeout: answerMs }
const sockets = 64

/** The SDK's client of the EBS direct API, loaded only here and when it is needed. It tries nothing again: that is done within the budget. */
export const connectEbs = async ({ region, endpoint }: Ec2Options): Promise<Ebs> => {
  const { EBS } = await import('@aws-sdk/client-ebs')
  return new EBS({
    region,
    credentials: await credentials(),
    maxAttempts: 1,
    requestHandler: {
      ...{ connectionTimeout: connectMs, ...silence },
      ...{ httpAgent: { maxSockets: sockets }, httpsAgent: { maxSockets: sockets } },
    },
    ...(endpoint === null ? {} : { endpoint }),
  })
}
