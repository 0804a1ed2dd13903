import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { connect, createServer, type PeerCertificate, type TLSSocket } from 'node:tls'
import type { TlsIdentity } from '../transfer.ts'
import { streamFailed } from './failure.ts'

const handshakeMs = 10_000

const options = (identity: TlsIdentity) => ({
  ca: identity.caPem,
  cert: identity.certPem,
  key: identity.keyPem,
  minVersion: 'TLSv1.3' as const,
  ciphers: 'TLS_AES_128_GCM_SHA256',
})

const subjectField = (certPem: string, field: 'O' | 'CN'): string | undefined =>
  new X509Certificate(certPem).subject
    .split('\n')
    .find((line) => line.startsWith(`${field}=`))
    ?.slice(field.length + 1)

/** The host that a certificate of ours is for. */
export const hostOf = (identity: TlsIdentity): string => subjectField(identity.certPem, 'CN') ?? ''

/** The cluster's CA signed it (TLS checked that); it must also name our cluster and the very host this session is for. */
const wrongPeer = (certificate: PeerCertificate, identity: TlsIdentity, hostId: string): string | null => {
  const { CN, O } = certificate.subject ?? {}
  if (CN !== hostId) return `the peer's certificate is for host ${JSON.stringify(CN ?? null)}, not for ${hostId}`
  const cluster = subjectField(identity.certPem, 'O')
  return O === cluster && cluster !== undefined
    ? null
    : `the peer's certificate is of another cluster (${JSON.stringify(O ?? null)})`
}

const within = <T>(
  what: string,
  start: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> =>
  new Promise<T>((resolve, reject) => {
    const timer = setTimeout(() => reject(streamFailed(`${what}: no answer for ${handshakeMs / 1000} s`)), handshakeMs)
    const stop = () => clearTimeout(timer)
    start(
      (value) => {
        stop()
        resolve(value)
      },
      (error) => {
        stop()
        reject(error)
      },
    )
  })

const failedWith = (hostId: string, error: Error) => streamFailed(`TLS with host ${hostId} failed: ${error.message}`)

/** The receiver is TLS's client, so that its first message rides behind GO and the sender has verified it before a byte goes out. */
export const secureAsReceiver = (socket: Socket, identity: TlsIdentity, peerHostId: string): Promise<TLSSocket> =>
  within(`TLS with host ${peerHostId}`, (resolve, reject) => {
    const secured = connect({
      ...options(identity),
      socket,
      checkServerIdentity: (_, certificate) => {
        const reason = wrongPeer(certificate, identity, peerHostId)
        return reason === null ? undefined : new Error(reason)
      },
    })
    secured.once('secureConnect', () => {
      secured.removeAllListeners('error')
      resolve(secured)
    })
    secured.on('error', (error) => reject(failedWith(peerHostId, error)))
    secured.once('close', () => reject(failedWith(peerHostId, new Error('the peer closed the connection'))))
  })

export const secureAsSender = (socket: Socket, identity: TlsIdentity, peerHostId: string): Promise<TLSSocket> =>
  within(`TLS with host ${peerHostId}`, (resolve, reject) => {
    // A server that never listens: the socket is put in by hand. Unlike a bare TLSSocket it enforces the client's certificate.
    const server = createServer({ ...options(identity), requestCert: true, rejectUnauthorized: true })
    server.once('secureConnection', (secured) => {
      const reason = wrongPeer(secured.getPeerCertificate(), identity, peerHostId)
      if (reason === null) return resolve(secured)
      secured.destroy()
      reject(failedWith(peerHostId, new Error(reason)))
    })
    server.once('tlsClientError', (error) => reject(failedWith(peerHostId, error)))
    server.emit('connection', socket)
  })
