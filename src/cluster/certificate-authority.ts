import { createPrivateKey, X509Certificate } from 'node:crypto'
import { DroverError } from '../domain/errors.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import type { Clock } from '../lib/clock.ts'
import {
  csrPublicKey,
  fingerprintOf,
  generateKeys,
  importPrivateKey,
  makeCaCertificate,
  makeHostCertificate,
  privateKeyPem,
} from './certificates.ts'
import type { CertificateAuthority } from './cluster.ts'
import * as x509 from './x509.ts'

/** A new CA, of a new cluster. */
export const createAuthority = async (
  cluster: ClusterId,
  clock: Clock,
): Promise<{ caPem: string; caKeyPem: string }> => {
  const keys = await generateKeys()
  return { caPem: await makeCaCertificate(keys, cluster, clock.now()), caKeyPem: await privateKeyPem(keys) }
}

/** @throws BAD_CONFIG when key and certificate are not of each other */
export const openAuthority = async (options: {
  caPem: string
  caKeyPem: string
  cluster: ClusterId
  clock: Clock
}): Promise<CertificateAuthority> => {
  const { caPem, caKeyPem, cluster, clock } = options
  const matches = (): boolean => {
    try {
      return new X509Certificate(caPem).checkPrivateKey(createPrivateKey(caKeyPem))
    } catch {
      return false
    }
  }
  if (!matches()) {
    throw new DroverError('BAD_CONFIG', `the CA's key does not fit the certificate of cluster ${cluster}; restore both`)
  }
  const ca = new x509.X509Certificate(caPem)
  const caKey = await importPrivateKey(caKeyPem)
  return {
    caPem,
    caFingerprint: fingerprintOf(caPem),
    async sign(csrPem: string, host: HostId) {
      const publicKey = await csrPublicKey(csrPem)
      return makeHostCertificate({ ca, caKey, publicKey, cluster, host, nowMs: clock.now() })
    },
  }
}
