import { createPrivateKey, X509Certificate } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { connect, type DetailedPeerCertificate, type PeerCertificate } from 'node:tls'
import { z } from 'zod'
import { DroverError } from '../domain/errors.ts'
import { type ClusterId, clusterId, type HostId, hostId } from '../domain/ids.ts'
import { checkHostName } from '../domain/names.ts'
import type { Clock } from '../lib/clock.ts'
import { type Address, parseAddress } from './address.ts'
import { fingerprintOf, generateKeys, makeCsr, privateKeyPem } from './certificates.ts'
import type { AdoptedVolume, Identity, JoinRequest } from './cluster.ts'
import { saveIdentity } from './identity-files.ts'
import { problemToError, readJson } from './problem.ts'
import { makeRenewalRequest } from './renewal.ts'
import { hostOfCertificate, tlsBasics } from './tls-options.ts'
import { parseToken } from './token.ts'

export interface JoinOptions {
  /** ADDR:PORT of the control host. */
  readonly address: string
  /** As `vol token` printed it. */
  readonly token: string
  readonly hostName: string
  /** ADDR:PORT at which other hosts reach this one. */
  readonly ownAddress: string
  readonly ownDataAddress: string
  readonly pools: readonly string[]
  /** Volumes that come along. */
  readonly volumes?: readonly AdoptedVolume[]
  /** Who this host is in that very cluster already: it gets another certificate, and nothing else of it changes. */
  readonly renews?: Identity
  readonly dataDir: string
  readonly clock: Clock
}

const timeoutMs = 30_000

/**
 * Asks the control host for a certificate and saves the new identity. Not a byte of the token's secret leaves before
 * the other end has proven to hold a certificate of the very CA that the token pins.
 * Whether the token has expired is for the control host to say: it goes by the clock that issued it.
 * @throws TOKEN_INVALID, UNAUTHENTICATED (not the pinned CA), HOST_UNREACHABLE, HOST_EXISTS, BAD_NAME
 */
export const requestJoin = async (options: JoinOptions): Promise<Identity> => {
  const token = parseToken(options.token)
  const address = parseAddress(options.address)
  const hostName = checkHostName(options.hostName)
  const { keyPem, ...shown } = await requestWith(options.renews)
  const ca = await fetchPinnedCa(address, options.address, token.caFingerprint)
  const request: JoinRequest = {
    secret: token.secret,
    ...shown,
    hostName,
    address: options.ownAddress,
    dataAddress: options.ownDataAddress,
    pools: options.pools,
    volumes: options.volumes ?? [],
  }
  const { controlHost, body } = await postJoin(address, options.address, ca, request)
  const answer = parseAnswer(body, ca, controlHost, keyPem, options.address)
  if (options.renews !== undefined && options.renews.hostId !== answer.hostId) {
    throw new DroverError('INTERNAL', `${options.address} took this host for another one; nothing was changed`)
  }
  const identity: Identity = {
    clusterId: ca.cluster,
    hostId: answer.hostId,
    hostName,
    control: false,
    controlAddress: options.address,
    controlHostId: controlHost,
    caPem: ca.pem,
    certPem: answer.certPem,
    keyPem,
    fingerprint: fingerprintOf(answer.certPem),
  }
  await saveIdentity(options.dataDir, identity)
  return identity
}

const requestWith = async (
  renews: Identity | undefined,
): Promise<{ keyPem: string; csrPem: string; renews?: string }> => {
  if (renews !== undefined) {
    const { certPem, csrPem } = await makeRenewalRequest(renews)
    return { keyPem: renews.keyPem, csrPem, renews: certPem }
  }
  const keys = await generateKeys()
  return { keyPem: await privateKeyPem(keys), csrPem: await makeCsr(keys) }
}

interface PinnedCa {
  readonly pem: string
  readonly cluster: ClusterId
}

/** A first connection that trusts nobody and says nothing: it only looks whether the chain holds the pinned CA. */
const fetchPinnedCa = async (address: Address, text: string, fingerprint: string): Promise<PinnedCa> => {
  const chain = await presentedChain(address, text)
  const found = chain.find((raw) => fingerprintOf(raw) === fingerprint)
  if (found === undefined) {
    throw new DroverError(
      'UNAUTHENTICATED',
      `${text} does not show the CA that the token pins; nothing was sent to it; check the address, or get a new token there`,
    )
  }
  const certificate = new X509Certificate(found)
  const cluster = /^O=drover:([0-9a-z]{26})$/m.exec(certificate.subject)?.[1]
  if (cluster === undefined || !certificate.ca) {
    throw new DroverError('UNAUTHENTICATED', `the CA that the token pins, shown by ${text}, is not a cluster's CA`)
  }
  return { pem: `${certificate.toString().trimEnd()}\n`, cluster: clusterId(cluster) }
}

const presentedChain = (address: Address, text: string): Promise<Buffer[]> =>
  new Promise((resolve, reject) => {
    const socket = connect({ ...tlsBasics, ...address, rejectUnauthorized: false }, () => {
      const chain: Buffer[] = []
      const seen = new Set<DetailedPeerCertificate>()
      // A self-signed certificate is its own issuer: the list ends in a ring.
      let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
      while (next?.raw !== undefined && !seen.has(next)) {
        seen.add(next)
        chain.push(next.raw)
        next = next.issuerCertificate
      }
      socket.destroy()
      resolve(chain)
    })
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer in time')))
    socket.once('error', (error) => reject(unreachable(text, error)))
  })

/** The second connection: Node's own verification against the pinned CA alone, then the request. */
const postJoin = (
  address: Address,
  text: string,
  ca: PinnedCa,
  joinRequest: JoinRequest,
): Promise<{ controlHost: HostId; body: unknown }> =>
  new Promise((resolve, reject) => {
    const payload = JSON.stringify(joinRequest)
    let controlHost: HostId | null = null
    const request = httpsRequest({
      ...tlsBasics,
      ...address,
      ca: ca.pem,
      agent: false,
      rejectUnauthorized: true,
      checkServerIdentity: (_name: string, certificate: PeerCertificate) => {
        controlHost = hostOfCertificate(certificate, ca.cluster)
        return controlHost === null ? new Error('the certificate is of no host of that cluster') : undefined
      },
      method: 'POST',
      path: '/v1/join',
      headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      timeout: timeoutMs,
    })
    let connected = false
    let verified = false
    request.once('socket', (socket) => {
      // The body is written only now: verification, by then, has ended well.
      socket.once('secureConnect', () => {
        verified = true
        request.end(payload)
      })
      socket.once('connect', () => {
        connected = true
      })
    })
    request.once('timeout', () => request.destroy(new Error('no answer in time')))
    request.once('error', (error: NodeJS.ErrnoException) => {
      const refused = connected && !verified && !['ECONNRESET', 'EPIPE'].includes(error.code ?? '')
      reject(refused ? notTrusted(text, error) : unreachable(text, error))
    })
    request.once('response', (response) => {
      readJson(response, text).then(
        (body) => {
          const status = response.statusCode ?? 0
          if (status !== 200 || controlHost === null) reject(problemToError(status, body, text))
          else resolve({ controlHost, body })
        },
        (error: unknown) => reject(error instanceof DroverError ? error : unreachable(text, error)),
      )
    })
  })

const answerShape = z.object({
  clusterId: z.string(),
  hostId: z.string().transform(hostId),
  controlHostId: z.string(),
  certPem: z.string(),
})

/** What was signed must be what was asked for: a certificate of the pinned CA. */
const parseAnswer = (body: unknown, ca: PinnedCa, controlHost: HostId, keyPem: string, text: string) => {
  try {
    const answer = answerShape.parse(body)
    const certificate = new X509Certificate(answer.certPem)
    if (!certificate.verify(new X509Certificate(ca.pem).publicKey)) throw new Error('the certificate is of another CA')
    if (!certificate.checkPrivateKey(createPrivateKey(keyPem))) throw new Error('the certificate is of another key')
    if (answer.clusterId !== ca.cluster || answer.controlHostId !== controlHost) throw new Error('the ids do not fit')
    if (!certificate.subject.split('\n').includes(`CN=${answer.hostId}`)) throw new Error('it is of another host')
    return answer
  } catch (error) {
    throw new DroverError(
      'INTERNAL',
      `${text} answered the join with what cannot be used; see that both run one version`,
      {
        cause: error,
      },
    )
  }
}

const notTrusted = (text: string, error: NodeJS.ErrnoException) =>
  new DroverError(
    'UNAUTHENTICATED',
    `${text} does not hold a valid certificate of the CA that the token pins (${error.code ?? error.message}); nothing was sent to it; ${
      /EXPIRED|NOT_YET_VALID/.test(error.code ?? '') ? "compare both hosts' clocks" : 'check the address'
    }`,
    { cause: error },
  )

const unreachable = (text: string, error: unknown) =>
  new DroverError(
    'HOST_UNREACHABLE',
    `${text} cannot be reached (${error instanceof Error ? error.message : String(error)}); see that vold runs there and the network lets it through`,
    { details: { address: text }, cause: error },
  )
