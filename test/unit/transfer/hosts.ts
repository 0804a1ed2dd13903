import 'reflect-metadata'
import { webcrypto } from 'node:crypto'
import { createServer } from 'node:net'
import { BasicConstraintsExtension, X509CertificateGenerator } from '@peculiar/x509'
import { systemClock } from '../../../src/lib/clock.ts'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import { createTransferService } from '../../../src/migrate/transfer/service.ts'
import type { TlsIdentity, TransferService } from '../../../src/migrate/transfer.ts'

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }
const dates = { notBefore: new Date(Date.now() - 60_000), notAfter: new Date(Date.now() + 86_400_000) }

const pem = (key: ArrayBuffer): string =>
  `-----BEGIN PRIVATE KEY-----\n${Buffer.from(key)
    .toString('base64')
    .replace(/(.{64})/g, '$1\n')}\n-----END PRIVATE KEY-----\n`

/** A certificate authority of a cluster that lives in memory. */
export const createAuthority = async (cluster: string) => {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
  const ca = await X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: '01',
      name: `O=drover:${cluster}, CN=ca`,
      ...dates,
      signingAlgorithm: algorithm,
      keys,
      extensions: [new BasicConstraintsExtension(true, 1, true)],
    },
    webcrypto,
  )
  let serial = 1
  return {
    caPem: ca.toString('pem'),
    issue: async (hostId: string, organisation = `drover:${cluster}`): Promise<TlsIdentity> => {
      const own = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])
      serial += 1
      const certificate = await X509CertificateGenerator.create(
        {
          serialNumber: serial.toString(16).padStart(4, '0'),
          subject: `O=${organisation}, CN=${hostId}`,
          issuer: ca.subject,
          ...dates,
          signingAlgorithm: algorithm,
          publicKey: own.publicKey,
          signingKey: keys.privateKey,
        },
        webcrypto,
      )
      return {
        caPem: ca.toString('pem'),
        certPem: certificate.toString('pem'),
        keyPem: pem(await webcrypto.subtle.exportKey('pkcs8', own.privateKey)),
      }
    },
  }
}

/** A port that was free a moment ago. */
export const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })

export interface TestHost {
  readonly service: TransferService
  readonly address: string
}

export const startHost = async (identity: TlsIdentity, clock = systemClock): Promise<TestHost> => {
  const service = createTransferService({ exec: createExec(silentLogger), logger: silentLogger, clock })
  const port = await freePort()
  await service.listen({ host: '127.0.0.1', port })
  service.setIdentity(identity)
  return { service, address: `127.0.0.1:${port}` }
}
