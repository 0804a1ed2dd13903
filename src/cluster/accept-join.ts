import { DroverError } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import { checkHostName } from '../domain/names.ts'
import { type Clock, isoNow } from '../lib/clock.ts'
import { parseAddress } from './address.ts'
import { fingerprintOf } from './certificates.ts'
import type { AdoptedVolume, CertificateAuthority, Identity, JoinAnswer, JoinRequest, TokenBook } from './cluster.ts'
import { newHostId } from './identity-files.ts'
import { hostNamedIn, signRenewal } from './renewal.ts'

export interface AcceptJoinParts {
  /** Of the control host. */
  readonly identity: Identity
  readonly authority: CertificateAuthority
  readonly tokens: TokenBook
  readonly clock: Clock
  /** Writes the new host and its volumes into the store; what it throws, HOST_EXISTS and VOLUME_EXISTS, leaves the token usable. */
  register(host: Host, volumes: readonly AdoptedVolume[]): Promise<void>
  members(): Promise<readonly Host[]>
  /** The row of a host that stays who it is. */
  update(host: Host): Promise<void>
}

/**
 * The control host's side of a join: a certificate, and a host id of its own choosing, for a token.
 * A host that has joined before keeps its id, if it shows that it holds that certificate's key.
 * @throws TOKEN_INVALID, BAD_NAME, BAD_REQUEST, NO_SUCH_HOST, FORBIDDEN, and what `register` throws
 */
export const acceptJoin = async (parts: AcceptJoinParts, request: JoinRequest): Promise<JoinAnswer> => {
  const { identity, authority, tokens, clock } = parts
  const name = checkHostName(request.hostName)
  parseAddress(request.address)
  parseAddress(request.dataAddress)
  if (request.renews !== undefined) return acceptAgain(parts, request, request.renews)
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

const acceptAgain = async (parts: AcceptJoinParts, request: JoinRequest, renews: string): Promise<JoinAnswer> => {
  const { identity, authority, tokens } = parts
  const host = (await parts.members()).find(({ id }) => id === hostNamedIn(renews))
  if (host === undefined || host.control) {
    throw new DroverError(
      'NO_SUCH_HOST',
      `the host that asks is no member of the cluster any more; start it with an empty data directory to join as a new one`,
    )
  }
  let certPem = ''
  await tokens.redeem(request.secret, async () => {
    const shown = { certPem: renews, csrPem: request.csrPem }
    certPem = await signRenewal(authority, identity.clusterId, host.id, shown)
    const { address, dataAddress, pools } = request
    await parts.update({ ...host, address, dataAddress, pools, fingerprint: fingerprintOf(certPem) })
  })
  const { hostId: controlHostId, clusterId, caPem } = identity
  return { clusterId, hostId: host.id, controlHostId, caPem, certPem }
}
