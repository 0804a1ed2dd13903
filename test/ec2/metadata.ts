import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'

const role = 'drover-test'

/** The instance's metadata, of version 2 only: nothing is told without a token that was asked for by PUT. */
export class InstanceMetadata {
  readonly #about: () => Readonly<Record<string, string>>
  readonly #tokens = new Set<string>()

  constructor(about: () => Readonly<Record<'instanceId' | 'zone' | 'region' | 'instanceType' | 'account', string>>) {
    this.#about = () => {
      const { instanceId, zone, region, instanceType, account } = about()
      return {
        'meta-data/instance-id': instanceId,
        'meta-data/instance-type': instanceType,
        'meta-data/placement/availability-zone': zone,
        'meta-data/placement/region': region,
        'meta-data/iam/security-credentials/': role,
        [`meta-data/iam/security-credentials/${role}`]: JSON.stringify({
          ...{ Code: 'Success', Type: 'AWS-HMAC', AccessKeyId: 'ASIATEST', SecretAccessKey: 'secret', Token: 'token' },
          ...{ LastUpdated: new Date().toISOString(), Expiration: new Date(Date.now() + 3_600_000).toISOString() },
        }),
        'dynamic/instance-identity/document': JSON.stringify({
          instanceId,
          availabilityZone: zone,
          region,
          instanceType,
          accountId: account,
        }),
      }
    }
  }

  /** False: the request is none of its own. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const path = /^\/latest\/(.+)$/.exec(request.url ?? '')?.[1]
    if (path === undefined) return false
    const say = (status: number, text: string) => void response.writeHead(status).end(text)
    if (path === 'api/token') {
      const seconds = Number(request.headers['x-aws-ec2-metadata-token-ttl-seconds'])
      if (request.method !== 'PUT') say(405, '')
      else if (!Number.isInteger(seconds) || seconds < 1 || seconds > 21_600) say(400, '')
      else {
        const token = randomBytes(24).toString('base64url')
        this.#tokens.add(token)
        say(200, token)
      }
      return true
    }
    const token = request.headers['x-aws-ec2-metadata-token']
    const text = this.#about()[path]
    if (typeof token !== 'string' || !this.#tokens.has(token)) say(401, '')
    else if (text === undefined) say(404, '')
    else say(200, text)
    return true
  }
}
