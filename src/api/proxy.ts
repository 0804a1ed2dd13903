import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream/promises'
import type { Identity, PeerClient, RequestOptions } from '../cluster/cluster.ts'
import { DroverError, hasCode } from '../domain/errors.ts'

/** Passes one request on to the control role and its answer back. `body`: its JSON, read already; undefined: it has none. */
export type ControlProxy = (request: IncomingMessage, response: ServerResponse, body: unknown) => Promise<void>

export interface ControlProxyParts {
  readonly peers: Pick<PeerClient, 'stream'>
  /** As it is now: a join changes it. */
  identity(): Pick<Identity, 'controlAddress' | 'controlHostId' | 'hostName'>
}

/** Until the answer begins; a plan asks other hosts, which takes a while. */
const patienceMs = 120_000

/** Names the host that passed a request on: a request is passed on once. */
export const viaHeader = 'drover-via'

const passedOn = ['accept', 'idempotency-key', 'if-match', 'last-event-id'] as const
const passedBack = [
  'content-type',
  'content-length',
  'cache-control',
  'location',
  'etag',
  'idempotency-replayed',
  'x-accel-buffering',
] as const

/** @throws CONTROL_UNREACHABLE; NOT_CONTROL for a request that was passed on before */
export const createControlProxy =
  ({ peers, identity }: ControlProxyParts): ControlProxy =>
  async (request, response, body) => {
    const { controlAddress, controlHostId, hostName } = identity()
    if (request.headers[viaHeader] !== undefined) {
      throw new DroverError('NOT_CONTROL', `host ${hostName} does not have the control role; ask ${controlAddress}`)
    }
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    // A client that accepts anything must not become one that wants JSON: the peer client would say so by itself.
    const headers: Record<string, string> = { [viaHeader]: hostName, accept: '*/*' }
    for (const name of passedOn) {
      const value = request.headers[name]
      if (typeof value === 'string') headers[name] = value
    }
    const options: RequestOptions = {
      method: methodOf(request),
      headers,
      signal: gone.signal,
      timeoutMs: patienceMs,
      ...(body === undefined ? {} : { body }),
    }
    const peer = { address: controlAddress, hostId: controlHostId }
    const answer = await peers.stream(peer, request.url ?? '/', options).catch((error: unknown) => {
      if (!hasCode(error, 'HOST_UNREACHABLE', 'TIMED_OUT')) throw error
      throw new DroverError(
        'CONTROL_UNREACHABLE',
        `the control role at ${controlAddress} does not answer (${error.message}); volumes owned here go on, try again later`,
        { cause: error },
      )
    })
    for (const name of passedBack) {
      const value = answer.headers[name]
      if (value !== undefined) response.setHeader(name, value)
    }
    response.writeHead(answer.statusCode ?? 502)
    response.flushHeaders()
    // Once the answer has begun, a link that breaks can only be told by breaking ours; the client's leaving is no error.
    await pipeline(answer, response).catch((error: unknown) => {
      if (!gone.signal.aborted) throw error
    })
  }

const methods = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

const methodOf = (request: IncomingMessage): (typeof methods)[number] =>
  methods.find((method) => method === request.method) ?? 'GET'
