import type { IncomingMessage } from 'node:http'
import type { Server as HttpsServer } from 'node:https'
import type { ClusterId, HostId } from '../domain/ids.ts'

/**
 * Who this host is, kept in files of mode 0600 under `<data-dir>/cluster/`, apart from the state store: losing the state
 * loses no identity. A fresh host makes itself a one-host cluster with a CA of its own.
 */
export interface Identity {
  readonly clusterId: ClusterId
  readonly hostId: HostId
  readonly hostName: string
  /** This host has the CA's key and the control role. */
  readonly control: boolean
  /** ADDR:PORT of the control host's vold. */
  readonly controlAddress: string
  readonly controlHostId: HostId
  readonly caPem: string
  readonly certPem: string
  readonly keyPem: string
  /** SHA-256 of our certificate, hexadecimal. */
  readonly fingerprint: string
}

/** What one pinned, single-use, expiring token says. As text: base64url of JSON. */
export interface JoinToken {
  /** SHA-256 of the CA certificate: the joiner trusts nothing else. */
  readonly caFingerprint: string
  readonly secret: string
  readonly expiresAt: string
}

/** A volume that a joining host brings along and goes on owning. */
export interface AdoptedVolume {
  readonly id: string
  readonly name: string
  readonly pool: string
  readonly epoch: number
  /** The highest epoch that the host has heard of. */
  readonly seen: number
  readonly sizeBytes: number | null
  readonly labels: Readonly<Record<string, string>>
  readonly createdAt: string
}

export interface JoinRequest {
  /** The certificate of a host that has joined before, ended or not: it stays who it is. The request is of its key. */
  readonly renews?: string | undefined
  readonly secret: string
  readonly csrPem: string
  readonly hostName: string
  readonly address: string
  readonly dataAddress: string
  readonly pools: readonly string[]
  readonly volumes: readonly AdoptedVolume[]
}

export interface JoinAnswer {
  readonly clusterId: ClusterId
  readonly hostId: HostId
  readonly controlHostId: HostId
  readonly caPem: string
  readonly certPem: string
}

/** Certificates carry the host id as CN and `drover:<cluster id>` as O. */
export interface CertificateAuthority {
  readonly caPem: string
  readonly caFingerprint: string
  /** Signs a request for this host id; the CSR's own names are not believed. */
  sign(csrPem: string, hostId: HostId): Promise<string>
}

/** Tokens of the control host, kept hashed in a file of mode 0600. */
export interface TokenBook {
  /** @returns the token as text */
  issue(ttlMs: number): Promise<string>
  /**
   * Uses it up, durably. With `use`: runs it first, alone, and leaves the token as it was when it throws.
   * @throws TOKEN_INVALID when unknown, used or expired, and what `use` throws
   */
  redeem(secret: string, use?: () => Promise<void>): Promise<void>
}

export interface RequestOptions {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** HTTP over mutual TLS to one other host; it checks that the peer's certificate carries the host id it means. */
export interface PeerClient {
  /** JSON in, JSON out. A problem+json answer is thrown as the DroverError it was. @throws HOST_UNREACHABLE */
  request(
    peer: { address: string; hostId: HostId },
    path: string,
    options?: RequestOptions,
  ): Promise<{ status: number; headers: Record<string, string>; body: unknown }>
  /** Sends a byte stream as the body (images). */
  upload(
    peer: { address: string; hostId: HostId },
    path: string,
    stream: NodeJS.ReadableStream,
    headers: Readonly<Record<string, string>>,
    signal?: AbortSignal,
  ): Promise<void>
  /** The raw response, for proxies and event streams. */
  stream(peer: { address: string; hostId: HostId }, path: string, options: RequestOptions): Promise<IncomingMessage>
  close(): void
}

/** Who is at the other end of an accepted TLS connection; null: no certificate of this cluster. */
export type PeerOf = (request: IncomingMessage) => HostId | null

export interface ClusterServer {
  readonly server: HttpsServer
  readonly peerOf: PeerOf
  /** New certificate without a restart. What is connected goes on, but under another CA, after a join, it counts no more. */
  setIdentity(identity: Identity): void
}
