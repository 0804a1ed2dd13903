import type { DetailedPeerCertificate, PeerCertificate } from 'node:tls'
import { type HostId, hostId, isId } from '../domain/ids.ts'
import { organisation } from './certificates.ts'
import type { Identity } from './cluster.ts'

/** AES-128-GCM first: processors do it in hardware, and it is the quickest of the safe ones. */
export const tlsBasics = {
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  honorCipherOrder: true,
  ciphers: [
    'TLS_AES_128_GCM_SHA256',
    'TLS_AES_256_GCM_SHA384',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
  ].join(':'),
} as const

/** Our end of mutual TLS. The CA goes along in the chain, so that a joiner can compare it with what its token pins. */
export const tlsIdentity = (identity: Pick<Identity, 'caPem' | 'certPem' | 'keyPem'>) => ({
  ...tlsBasics,
  ca: identity.caPem,
  cert: `${identity.certPem.trimEnd()}\n${identity.caPem}`,
  key: identity.keyPem,
})

/** The host that a certificate names, if it is one of this cluster. Says nothing about who signed it. */
export const hostOfCertificate = (
  certificate: PeerCertificate | DetailedPeerCertificate,
  clusterId: Identity['clusterId'],
): HostId | null => {
  // Without a certificate Node answers an empty object, with a repeated field an array.
  const subject = certificate.subject as { CN?: unknown; O?: unknown } | undefined
  if (typeof subject?.CN !== 'string' || subject.O !== organisation(clusterId)) return null
  return isId(subject.CN) ? hostId(subject.CN) : null
}
