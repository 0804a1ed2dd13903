import type { RequestListener } from 'node:http'
import { createServer } from 'node:https'
import { TLSSocket } from 'node:tls'
import type { HostId } from '../domain/ids.ts'
import type { ClusterServer, Identity, PeerOf } from './cluster.ts'
import { hostOfCertificate, tlsIdentity } from './tls-options.ts'

/** Longer than any client keeps an idle connection (see peer-client.ts): the server never closes one that is being picked up. */
const keepAliveMs = 65_000
/** A connection without a certificate of this cluster, that of a joiner, may be silent this long. */
const strangerSilenceMs = 30_000

export interface ClusterServerOptions {
  readonly identity: Identity
  /** What answers requests: the API's express app. */
  readonly handler: RequestListener
  /**
   * Whether a host with a valid certificate is (still) a member; certificates of removed hosts live on. Default: all are.
   */
  readonly isMember?: (host: HostId) => boolean
}

/**
 * HTTPS that asks for a certificate and lets those without one in as nobody: a joiner has none yet. Who may do what is
 * decided by `peerOf`.
 */
export const createClusterServer = (options: ClusterServerOptions): ClusterServer => {
  let identity = options.identity
  const server = createServer(
    {
      ...tlsIdentity(identity),
      requestCert: true,
      rejectUnauthorized: false,
      handshakeTimeout: 10_000,
      keepAliveTimeout: keepAliveMs,
      headersTimeout: 30_000,
      // An image of many GiB takes as long as it takes; who has no certificate is cut off by silence, below.
      requestTimeout: 0,
    },
    options.handler,
  )
  // A connection counts for the CA under which it was verified, and for no other.
  const verifiedUnder = new WeakMap<TLSSocket, string>()
  server.on('secureConnection', (socket: TLSSocket) => {
    verifiedUnder.set(socket, identity.caPem)
    if (!socket.authorized) socket.setTimeout(strangerSilenceMs)
  })
  // Node's HTTP server takes a connection's own limit off after its first request.
  server.prependListener('request', ({ socket }) => {
    if (!(socket instanceof TLSSocket && socket.authorized)) socket.setTimeout(strangerSilenceMs)
  })

  const peerOf: PeerOf = (request) => {
    const { socket } = request
    if (!(socket instanceof TLSSocket) || !socket.authorized || verifiedUnder.get(socket) !== identity.caPem)
      return null
    const host = hostOfCertificate(socket.getPeerCertificate(), identity.clusterId)
    return host !== null && (options.isMember?.(host) ?? true) ? host : null
  }

  return {
    server,
    peerOf,
    setIdentity(next) {
      const isOfAnotherCluster = next.caPem !== identity.caPem
      identity = next
      server.setSecureContext(tlsIdentity(next))
      if (isOfAnotherCluster) server.closeIdleConnections()
    },
  }
}
