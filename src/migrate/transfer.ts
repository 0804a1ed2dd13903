import type { Argv } from '../backends/backend.ts'

/**
 * One snapshot's stream from one host to another. Each end runs in a process of its own (forked by lib/exec), so that
 * the API and Docker's calls stay quick; it ends when its `vold` ends.
 *
 * The wire, on the target's data port: the source connects and sends a routing preamble in clear, `DROVER/1 <session id>\n`.
 * The target's `vold` reads just that line, hands the socket to the process of that session, which answers `GO\n`.
 * Then mutual TLS (AES-128-GCM, the receiver as TLS's client) inside that connection, certificates of this cluster only, the peer being the very
 * host that the session was opened for, then frames with a running digest, then an acknowledgement after
 * the receiving command ended well. On a plain link the preambles carry the ticket, and GO and acknowledgement
 * go over a second connection.
 *
 * Over TLS the session outlives its link. When that breaks or falls silent, the sender connects again with the same preamble, proves itself as
 * before and by the digest's key, is told which byte to go on from, and sends from there what it has kept: all that
 * was not acknowledged, at most 64 MiB. Neither command notices. On a plain link a break ends the transfer.
 */
export interface TransferResult {
  readonly bytes: number
  readonly ms: number
  /** Digest of the stream as text, equal at both ends and at no other transfer. Null on a trusted plain link. */
  readonly digest: string | null
  /** Bytes of the stream that were sent more than once, since a link broke; told by the sender. */
  readonly resentBytes: number
  /** Links after the first. */
  readonly reconnects: number
  /** What went over the links to carry `bytes`: more by frames and what was sent again, less by `compress`. */
  readonly wireBytes: number
}

export interface TransferProgress {
  readonly bytes: number
}

export interface TlsIdentity {
  readonly certPem: string
  readonly keyPem: string
  readonly caPem: string
}

export interface ReceiveSpec {
  readonly sessionId: string
  readonly argv: Argv
  /** A directory whose file system is synced again and again while the stream comes in over TLS. */
  readonly landing?: string
  /** Host id that the peer's certificate must carry (CN). */
  readonly peerHostId: string
  /** True on a trusted link: plain, the socket handed to the command. */
  readonly plain: boolean
  /** With `plain`: a random word of at least 32 characters, told to both ends over the control channel, good for this session only. */
  readonly ticket?: string
  /** As in SendSpec. */
  readonly patienceMs?: number
}

export interface SendSpec {
  readonly sessionId: string
  readonly argv: Argv
  readonly peerHostId: string
  /** ADDR:PORT of the target's data port. */
  readonly address: string
  readonly plain: boolean
  /** As in ReceiveSpec. */
  readonly ticket?: string
  /** Bytes per second, on the wire. */
  readonly bwlimitBytes: number | null
  /** `none` unless given. Only with `plain: false`. */
  readonly compress?: 'none' | 'zstd'
  /** So long a session goes on without a link; 60 s unless given. */
  readonly patienceMs?: number
}

export interface Transfer {
  /** Resolves when both the stream and the command ended well. @throws STREAM_FAILED, with the command's stderr tail and exit status. */
  readonly done: Promise<TransferResult>
  progress(): TransferProgress
  /** Ends the process and its command; `done` rejects. */
  abort(): void
}

/** Both ends, on one host. */
export interface TransferService {
  /** Binds the data port. @throws ADDRESS_TAKEN */
  listen(address: { host: string; port: number }): Promise<void>
  /** The identity may change when the host joins a cluster. */
  setIdentity(identity: TlsIdentity): void
  /** The session waits for its peer from when this resolves; aborts by itself when no peer came within 30 s. */
  receive(spec: ReceiveSpec): Promise<Transfer>
  send(spec: SendSpec): Promise<Transfer>
  /** A transfer is about to come: its process is started ahead, which saves some 50 ms. Optional to call, cheap to call again. */
  warm(): void
  /** Ends every transfer and lets go of the port. */
  close(): Promise<void>
}
