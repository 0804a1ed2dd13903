import { X509Certificate } from 'node:crypto'
import type { Socket } from 'node:net'
import { connect, createServer, type TLSSocket } from 'node:tls'
import type { TlsIdentity } from '../transfer.ts'
import { linkLost, strangerMet } from './failure.ts'
import { formatMessage } from './messages.ts'

const handshakeMs = 10_000

/**
 * What `rejectUnauthorized` would do, `checkPeer` does: node drops a peer that it rejects without a word, and who is dropped so cannot tell
 * a wrong certificate, which will not get better, from a link that broke.
 */
const options = (identity: TlsIdentity) => ({
  ca: identity.caPem,
  cert: identity.certPem,
  key: identity.keyPem,
  minVersion: 'TLSv1.3' as const,
  ciphers: 'TLS_AES_128_GCM_SHA256',
  rejectUnauthorized: false,
})

const subjectField = (certPem: string, field: 'O' | 'CN'): string | undefined =>
  new X509Certificate(certPem).subject
    .split('\n')
    .find((line) => line.startsWith(`${field}=`))
    ?.slice(field.length + 1)

/** The host that a certificate of ours is for. */
export const hostOf = (identity: TlsIdentity): string => subjectField(identity.certPem, 'CN') ?? ''

/** Null, or why not: the cluster's CA must have signed it, and it must name our cluster and the very host this session is for. */
const wrongPeer = (peer: TLSSocket, identity: TlsIdentity, hostId: string): string | null => {
  if (!peer.authorized) return `the peer's certificate is not good: ${peer.authorizationError ?? 'not verified'}`
  const { CN, O } = peer.getPeerCertificate().subject ?? {}
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
    const timer = setTimeout(() => reject(linkLost(`${what}: no answer for ${handshakeMs / 1000} s`)), handshakeMs)
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

const failedWith = (hostId: string, error: Error) => linkLost(`TLS with host ${hostId} failed: ${error.message}`)

/** Null when the peer is the right one; else it is told off, and what to throw. */
const checkPeer = (peer: TLSSocket, identity: TlsIdentity, hostId: string, lastWords: string | null): Error | null => {
  const reason = wrongPeer(peer, identity, hostId)
  if (reason === null) return null
  peer.on('error', () => {})
  if (lastWords === null) peer.destroy()
  else {
    peer.resume().end(lastWords)
    setTimeout(() => peer.destroy(), lastWordsMs)
  }
  return strangerMet(`TLS with host ${hostId} failed: ${reason}`)
}
const lastWordsMs = 2_000

/**
 * The receiver is TLS's client, so that its first message rides behind GO and the sender has verified it before a byte goes out.
 * @throws STREAM_FAILED, of a stranger or a lost link
 */
export const secureAsReceiver = (socket: Socket, identity: TlsIdentity, peerHostId: string): Promise<TLSSocket> =>
  within(`TLS with host ${peerHostId}`, (resolve, reject) => {
    const secured = connect({ ...options(identity), socket, checkServerIdentity: () => undefined })
    secured.once('secureConnect', () => {
      const told = `the target does not take this sender: its certificate does not fit ${peerHostId} or the cluster`
      const refusal = checkPeer(secured, identity, peerHostId, formatMessage({ kind: 'stranger', message: told }))
      if (refusal !== null) return reject(refusal)
      secured.removeAllListeners('error')
      resolve(secured)
    })
    secured.on('error', (error) => reject(failedWith(peerHostId, error)))
    secured.once('close', () => reject(failedWith(peerHostId, new Error('the peer closed the connection'))))
  })

/** @throws STREAM_FAILED, of a stranger or a lost link */
export const secureAsSender = (socket: Socket, identity: TlsIdentity, peerHostId: string): Promise<TLSSocket> =>
  within(`TLS with host ${peerHostId}`, (resolve, reject) => {
    // A server that never listens: the socket is put in by hand. Unlike a bare TLSSocket it demands the client's certificate.
    const server = createServer({ ...options(identity), requestCert: true })
    server.once('secureConnection', (secured) => {
      const refusal = checkPeer(secured, identity, peerHostId, null)
      if (refusal === null) return resolve(secured)
      reject(refusal)
    })
    server.once('tlsClientError', (error) => reject(failedWith(peerHostId, error)))
    server.emit('connection', socket)
  })
