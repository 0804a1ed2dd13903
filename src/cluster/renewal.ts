import { createPrivateKey, webcrypto, X509Certificate } from 'node:crypto'
import { DroverError } from '../domain/errors.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import { csrPublicKey, fingerprintOf, importPrivateKey, keyAlgorithm, makeCsr, organisation } from './certificates.ts'
import type { CertificateAuthority, Identity } from './cluster.ts'

/** What a host shows for a new certificate: the one it has, and a request that its key has signed. */
export interface RenewalRequest {
  readonly certPem: string
  readonly csrPem: string
}

/** What the control role asks of each host, its own too. */
export interface HeldCertificate {
  request(): Promise<RenewalRequest>
  /** Takes it up without a restart, on disk first. One that ends no later than the present one changes nothing. */
  renew(certPem: string): Promise<void>
}

const dayMs = 86_400_000
/** Early enough that a host may be away for a month, and `vol doctor` still have a month to tell of it. */
const renewedBeforeMs = 60 * dayMs

/** Unix milliseconds. */
export const endOfCertificate = (pem: string): number => Date.parse(new X509Certificate(pem).validTo)

export const isRenewalDue = (certPem: string, nowMs: number): boolean =>
  endOfCertificate(certPem) - nowMs < renewedBeforeMs

/** The key stays: whoever holds it is who the certificate in use names. */
export const makeRenewalRequest = async ({ certPem, keyPem }: Identity): Promise<RenewalRequest> => {
  const privateKey = await importPrivateKey(keyPem)
  const der = new X509Certificate(certPem).publicKey.export(spki)
  const publicKey = await webcrypto.subtle.importKey('spki', der, keyAlgorithm, true, ['verify'])
  return { certPem, csrPem: await makeCsr({ privateKey, publicKey }) }
}

const spki = { type: 'spki', format: 'der' } as const

/**
 * A certificate for the same host id and the same key. Whether the shown one has ended is for the caller to have asked: over mutual TLS
 * it has not, and with a token it may have.
 * @throws FORBIDDEN when the shown one is not of this CA and host, or the request not of its key
 */
export const signRenewal = async (
  authority: CertificateAuthority,
  cluster: ClusterId,
  host: HostId,
  { certPem, csrPem }: RenewalRequest,
): Promise<string> => {
  const shown = read(certPem)
  const asked = Buffer.from((await csrPublicKey(csrPem)).rawData)
  const isProven =
    shown !== null && isOf(shown, authority.caPem, cluster, host) && asked.equals(shown.publicKey.export(spki))
  if (isProven) return authority.sign(csrPem, host)
  throw new DroverError(
    'FORBIDDEN',
    `what asks for a certificate of host ${host} does not show that it is that host; it was not signed`,
  )
}

/** Who this host is with the new certificate; null when it is no later than the one it has. @throws FORBIDDEN when it is not ours */
export const withRenewed = (identity: Identity, certPem: string): Identity | null => {
  const certificate = read(certPem)
  const fits =
    certificate !== null &&
    isOf(certificate, identity.caPem, identity.clusterId, identity.hostId) &&
    certificate.checkPrivateKey(createPrivateKey(identity.keyPem))
  if (!fits) {
    throw new DroverError('FORBIDDEN', `the new certificate is not one of host ${identity.hostName}; it was not taken`)
  }
  if (endOfCertificate(certPem) <= endOfCertificate(identity.certPem)) return null
  return { ...identity, certPem, fingerprint: fingerprintOf(certPem) }
}

/** What is wrong with this host's own certificate, a line for a person. */
export const certificateProblems = ({ certPem, hostName, controlAddress }: Identity, clock: Clock): string[] => {
  if (endOfCertificate(certPem) > clock.now()) return []
  const endedAt = new Date(endOfCertificate(certPem)).toISOString()
  return [
    `the certificate of host ${hostName} ended at ${endedAt}; run vol token on another host, then vol join ${controlAddress} --token TOKEN here: it stays who it is`,
  ]
}

/** Whom a certificate says it is of. It proves nothing. */
export const hostNamedIn = (certPem: string): string | null =>
  /^CN=([0-9a-z]{26})$/m.exec(read(certPem)?.subject ?? '')?.[1] ?? null

const read = (pem: string): X509Certificate | null => {
  try {
    return new X509Certificate(pem)
  } catch {
    return null
  }
}

const isOf = (certificate: X509Certificate, caPem: string, cluster: ClusterId, host: HostId): boolean => {
  const names = certificate.subject.split('\n')
  const isNamed = names.includes(`CN=${host}`) && names.includes(`O=${organisation(cluster)}`)
  return isNamed && certificate.verify(new X509Certificate(caPem).publicKey)
}
