import type { Host } from '../domain/host.ts'
import { checkHostName } from '../domain/names.ts'
import { type Clock, isoNow } from '../lib/clock.ts'
import { parseAddress } from './address.ts'
import { fingerprintOf } from './certificates.ts'
import type { AdoptedVolume, CertificateAuthority, Identity, JoinAnswer, JoinRequest, TokenBook } from './cluster.ts'
import { newHostId } from './identity-files.ts'

export interface AcceptJoinParts {
  /** Of the control host. */
  readonly identity: Identity
  readonly authority: CertificateAuthority
  readonly tokens: TokenBook
  readonly clock: Clock
  /** Writes the new host and its volumes into the store; what it throws, HOST_EXISTS and VOLUME_EXISTS, leaves the token usable. */
  register(host: Host, volumes: readonly AdoptedVolume[]): Promise<void>
}

/**
 * The control host's side of a join: a certificate, and a host id of its own choosing, for a token.
 * @throws TOKEN_INVALID, BAD_NAME, BAD_REQUEST, and what `register` throws
 */
export const acceptJoin = async (parts: AcceptJoinParts, request: JoinRequest): Promise<JoinAnswer> => {
  const { identity, authority, tokens, clock } = parts
  const name = checkHostName(request.hostName)
  parseAddress(request.address)
  parseAddress(request.dataAddress)
  const id = newHostId(clock)
  let certPem = ''
  await tokens.redeem(request.secret, async () => {
    certPem = await authority.sign(request.csrPem, id)
    const joiner: Host = {
      id,
      name,
      address: request.address,
      dataAddress: request.dataAddress,
      pools: request.pools,
      control: false,
      fingerprint: fingerprintOf(certPem),
      joinedAt: isoNow(clock),
    }
    await parts.register(joiner, request.volumes)
  })
  return { clusterId: identity.clusterId, hostId: id, controlHostId: identity.hostId, caPem: identity.caPem, certPem }
}
