import { randomBytes, webcrypto, X509Certificate } from 'node:crypto'
import { DroverError } from '../domain/errors.ts'
import type { ClusterId, HostId } from '../domain/ids.ts'
import * as x509 from './x509.ts'

export const keyAlgorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const

const dayMs = 86_400_000
/** Hosts' clocks differ: certificates are valid from before they were made. */
const backdatedMs = dayMs
const caDays = 3650
const leafDays = 825

export const generateKeys = async (): Promise<webcrypto.CryptoKeyPair> =>
  webcrypto.subtle.generateKey(keyAlgorithm, true, ['sign', 'verify'])

export const privateKeyPem = async (keys: webcrypto.CryptoKeyPair): Promise<string> =>
  x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')

/** @throws when it is not a P-256 key */
export const importPrivateKey = (pem: string): Promise<webcrypto.CryptoKey> =>
  webcrypto.subtle.importKey('pkcs8', x509.PemConverter.decodeFirst(pem), keyAlgorithm, true, ['sign'])

export const organisation = (id: ClusterId): string => `drover:${id}`

const validity = (nowMs: number, days: number) => ({
  notBefore: new Date(nowMs - backdatedMs),
  notAfter: new Date(nowMs + days * dayMs),
})

/** A positive number: its first bit is clear. */
const serialNumber = (): string => `4${randomBytes(16).toString('hex').slice(1)}`

/** A self-signed CA of one cluster, valid for ten years. It signs leaves only. */
export const makeCaCertificate = async (
  keys: webcrypto.CryptoKeyPair,
  cluster: ClusterId,
  nowMs: number,
): Promise<string> => {
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: [{ CN: [`drover CA ${cluster}`] }, { O: [organisation(cluster)] }],
    ...validity(nowMs, caDays),
    signingAlgorithm: keyAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  })
  return certificate.toString('pem')
}

/** A certificate of one host, for both ends of TLS, valid for 825 days. */
export const makeHostCertificate = async (options: {
  ca: x509.X509Certificate
  caKey: webcrypto.CryptoKey
  publicKey: x509.PublicKey
  cluster: ClusterId
  host: HostId
  nowMs: number
}): Promise<string> => {
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [options.host] }, { O: [organisation(options.cluster)] }],
    issuer: options.ca.subjectName,
    ...validity(options.nowMs, leafDays),
    signingAlgorithm: keyAlgorithm,
    publicKey: options.publicKey,
    signingKey: options.caKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(options.ca),
      await x509.SubjectKeyIdentifierExtension.create(options.publicKey),
    ],
  })
  return certificate.toString('pem')
}

/** A request for a certificate; who it is for is the CA's to say. */
export const makeCsr = async (keys: webcrypto.CryptoKeyPair): Promise<string> => {
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: ['drover host'] }],
    keys,
    signingAlgorithm: keyAlgorithm,
  })
  return csr.toString('pem')
}

/** The key of a request, proven to be held by who asks. @throws BAD_REQUEST */
export const csrPublicKey = async (csrPem: string): Promise<x509.PublicKey> => {
  const refuse = (cause?: unknown) =>
    new DroverError('BAD_REQUEST', 'the certificate request is not a signed P-256 request; join with a current vold', {
      cause,
    })
  let csr: x509.Pkcs10CertificateRequest
  let valid: boolean
  try {
    csr = new x509.Pkcs10CertificateRequest(csrPem)
    valid = await csr.verify()
  } catch (error) {
    throw refuse(error)
  }
  const algorithm = csr.publicKey.algorithm as { name: string; namedCurve?: string }
  if (!valid || algorithm.name !== 'ECDSA' || algorithm.namedCurve !== 'P-256') throw refuse()
  return csr.publicKey
}

/** SHA-256 of the certificate, 64 hexadecimal digits. */
export const fingerprintOf = (certificate: string | Buffer): string =>
  new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase()
