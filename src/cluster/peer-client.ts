import type { ClientRequest, IncomingMessage } from 'node:http'
import { Agent, request as httpsRequest } from 'node:https'
import type { Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import type { PeerCertificate } from 'node:tls'
import { DroverError } from '../domain/errors.ts'
import type { HostId } from '../domain/ids.ts'
import { type Address, parseAddress } from './address.ts'
import type { Identity, PeerClient, RequestOptions } from './cluster.ts'
import { problemToError, readJson } from './problem.ts'
import { hostOfCertificate, tlsIdentity } from './tls-options.ts'

const defaultTimeoutMs = 30_000
/** A host that does not take the connection for this long is down or cut off. */
const connectTimeoutMs = 5_000
/** Well below the server's keep-alive time: an idle connection is dropped here before it can be closed there under a request. */
const idleMs = 20_000
/** An upload in which nothing moves for this long is dead. */
const uploadSilenceMs = 60_000

type Peer = Parameters<PeerClient['request']>[0]

/** Repeating them changes nothing: they may be sent again when a kept connection turns out dead. */
const repeatable = new Set(['GET', 'PUT', 'DELETE'])

export interface ReloadablePeerClient extends PeerClient {
  /** After a join or a renewal; requests under way end under the old identity. */
  setIdentity(identity: Identity): void
}

export const createPeerClient = (initial: Identity): ReloadablePeerClient => {
  let agent = makeAgent(initial)

  const open = async (peer: Peer, path: string, call: Call): Promise<IncomingMessage> => {
    const address = parseAddress(peer.address)
    const send = () => sendOnce(agent, peer, address, path, call)
    try {
      return await send()
    } catch (error) {
      if (!(error instanceof DeadConnection)) throw error
      if (repeatable.has(call.method)) return await send()
      throw unreachable(peer, error.cause)
    }
  }

  return {
    async request(peer, path, options = {}) {
      const call = callOf(options)
      const deadline = AbortSignal.timeout(options.timeoutMs ?? defaultTimeoutMs)
      const signal = options.signal === undefined ? deadline : AbortSignal.any([options.signal, deadline])
      try {
        const response = await open(peer, path, { ...call, signal })
        const body = await readJson(response, peer.address)
        const status = response.statusCode ?? 0
        if (status < 200 || status > 299) throw problemToError(status, body, peer.address)
        return { status, headers: plainHeaders(response), body }
      } catch (error) {
        throw asPeerError(error, peer, options, deadline)
      }
    },

    async stream(peer, path, options) {
      // The deadline is for the headers only: an event stream has no end.
      const deadline = new AbortController()
      const timer = setTimeout(() => deadline.abort(), options.timeoutMs ?? defaultTimeoutMs)
      const signal = options.signal === undefined ? deadline.signal : AbortSignal.any([options.signal, deadline.signal])
      try {
        return await open(peer, path, { ...callOf(options), signal })
      } catch (error) {
        throw asPeerError(error, peer, options, deadline.signal)
      } finally {
        clearTimeout(timer)
      }
    },

    async upload(peer, path, source, headers, signal) {
      const call: Call = {
        method: 'POST',
        headers: { accept: 'application/json', ...headers },
        body: { stream: source },
        ...(signal === undefined ? {} : { signal }),
      }
      try {
        const response = await open(peer, path, call)
        const body = await readJson(response, peer.address)
        const status = response.statusCode ?? 0
        if (status < 200 || status > 299) throw problemToError(status, body, peer.address)
      } catch (error) {
        throw asPeerError(error, peer, signal === undefined ? {} : { signal }, undefined)
      }
    },

    setIdentity(identity) {
      for (const sockets of Object.values(agent.freeSockets)) for (const socket of sockets ?? []) socket.destroy()
      agent = makeAgent(identity)
    },

    close() {
      agent.destroy()
    },
  }
}

/**
 * The name that TLS asks for is the host id that we mean: connections are kept apart by it, and the check sees it. Sessions are
 * not resumed, for Node checks no name then.
 */
const makeAgent = (identity: Identity): Agent => {
  const agent = new Agent({
    ...tlsIdentity(identity),
    keepAlive: true,
    maxCachedSessions: 0,
    rejectUnauthorized: true,
    checkServerIdentity: (meant: string, certificate: PeerCertificate) => {
      const found = hostOfCertificate(certificate, identity.clusterId)
      return found === meant ? undefined : new WrongHost(meant, found)
    },
  })
  agent.on('free', (socket: Socket) => socket.setTimeout(idleMs))
  return agent
}

class WrongHost extends Error {
  constructor(meant: string, found: HostId | null) {
    super(`the certificate is of ${found === null ? 'no host of this cluster' : `host ${found}`}, not of host ${meant}`)
  }
}

/** A kept connection was closed by the other end before it took the request. */
class DeadConnection extends Error {}

interface Call {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | { readonly stream: NodeJS.ReadableStream } | null
  readonly signal?: AbortSignal
}

/** Bytes go as they are, everything else as JSON. */
const callOf = ({ method = 'GET', body, headers = {} }: RequestOptions): Call => {
  const accept = { accept: 'application/json' }
  if (body === undefined) return { method, headers: { ...accept, 'content-length': '0', ...headers }, body: null }
  const bytes = body instanceof Uint8Array ? Buffer.from(body) : Buffer.from(JSON.stringify(body))
  const described = { 'content-type': 'application/json', 'content-length': String(bytes.length) }
  return { method, headers: { ...accept, ...described, ...headers }, body: bytes }
}

/** Resolves with the answer's head. */
const sendOnce = (agent: Agent, peer: Peer, address: Address, path: string, call: Call): Promise<IncomingMessage> =>
  new Promise((resolve, reject) => {
    const request = httpsRequest({
      agent,
      host: address.host,
      port: address.port,
      servername: peer.hostId,
      method: call.method,
      path,
      headers: call.headers,
      ...(call.signal === undefined ? {} : { signal: call.signal }),
    })
    let answered = false
    request.once('response', (response) => {
      answered = true
      resolve(response)
    })
    request.on('error', (error: NodeJS.ErrnoException) => {
      const dead = request.reusedSocket && ['ECONNRESET', 'EPIPE'].includes(error.code ?? '')
      reject(dead ? new DeadConnection('', { cause: error }) : error)
    })
    limitConnecting(request)
    if (call.body === null || Buffer.isBuffer(call.body)) {
      request.end(call.body ?? undefined)
      return
    }
    request.setTimeout(uploadSilenceMs, () => request.destroy(new Error(`nothing moved for ${uploadSilenceMs} ms`)))
    pipeline(call.body.stream, request).catch((error: unknown) => {
      // An answer that comes before the body's end, a refusal, breaks the pipe and is what counts.
      if (!answered) setImmediate(() => reject(error))
    })
  })

const limitConnecting = (request: ClientRequest): void => {
  request.once('socket', (socket) => {
    if (request.reusedSocket) return
    const timer = setTimeout(
      () => request.destroy(new Error(`no connection within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    )
    const stop = () => clearTimeout(timer)
    socket.once('secureConnect', stop)
    request.once('close', stop)
  })
}

const plainHeaders = (response: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(response.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  )

const asPeerError = (
  error: unknown,
  peer: Peer,
  options: { signal?: AbortSignal; timeoutMs?: number },
  deadline: AbortSignal | undefined,
): unknown => {
  if (error instanceof DroverError) return error
  if (options.signal?.aborted) return options.signal.reason
  if (deadline?.aborted) {
    return new DroverError(
      'HOST_UNREACHABLE',
      `host at ${peer.address} did not answer within ${options.timeoutMs ?? defaultTimeoutMs} ms; see that vold runs there`,
      { details: { address: peer.address, reason: 'timeout' }, cause: error },
    )
  }
  return unreachable(peer, error)
}

const unreachable = (peer: Peer, error: unknown): DroverError => {
  if (isCodeOf(error, /^CERT_HAS_EXPIRED$/)) {
    return new DroverError(
      'HOST_UNREACHABLE',
      `the certificate of the host at ${peer.address} has ended; run vol token, and the line that it prints on that host: it stays who it is`,
      { details: { address: peer.address, reason: 'expired' }, cause: error },
    )
  }
  const certificate = error instanceof WrongHost || isCodeOf(error, certificateCodes)
  const why =
    error instanceof Error ? error.message || ('code' in error ? String(error.code) : error.name) : String(error)
  return new DroverError(
    'HOST_UNREACHABLE',
    certificate
      ? `what answers at ${peer.address} is not the host that is meant (${why}); see the address in vol hosts`
      : `host at ${peer.address} cannot be reached (${why}); see that vold runs there and the network lets it through`,
    { details: { address: peer.address, reason: certificate ? 'certificate' : 'connection' }, cause: error },
  )
}

/** OpenSSL's verdicts on a chain, as Node names them. */
const certificateCodes = /CERT|UNABLE_TO_|SELF_SIGNED|INVALID_CA|INVALID_PURPOSE|PATH_LENGTH/

const isCodeOf = (error: unknown, codes: RegExp): boolean =>
  error instanceof Error && 'code' in error && codes.test(String(error.code))
