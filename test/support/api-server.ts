import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Router } from 'express'
import { Registry } from 'prom-client'
import { onTestFinished } from 'vitest'
import { createApi } from '../../src/api/app.ts'
import type { LocalEndpoints } from '../../src/api/handlers.ts'
import type { ControlProxy } from '../../src/api/proxy.ts'
import type { PeerOf } from '../../src/cluster/cluster.ts'
import type { Control } from '../../src/control/control.ts'
import { DroverError } from '../../src/domain/errors.ts'
import { type HostId, isId } from '../../src/domain/ids.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { listenOnUnixSocket } from '../../src/lib/unix-socket.ts'
import type { IdempotentAnswer } from '../../src/state/store.ts'
import { FakeControl, hostIds, theClusterId } from './fake-control.ts'
import { temporaryDirectory } from './temporary-directory.ts'

/** In place of mutual TLS: the header `x-peer` names the host whose certificate was shown. */
const peerOf = (request: { headers: Record<string, unknown> }): HostId | null => {
  const peer = request.headers['x-peer']
  return typeof peer === 'string' && isId(peer) ? (peer as HostId) : null
}

const noProxy: ControlProxy = async () => {
  throw new DroverError('CONTROL_UNREACHABLE', 'the control role does not answer; try again later')
}

export interface ApiServer {
  readonly control: FakeControl
  readonly socket: string
  /** http://127.0.0.1:PORT of the door for other hosts. */
  readonly remote: string
  /** What stands behind that door. */
  readonly handler: RequestListener
  readonly answers: Map<string, IdempotentAnswer>
  readonly joins: unknown[]
  problems: string[]
  /** Ends both servers, as a stop of vold does. */
  stop(): Promise<void>
}

/** The real API behind both its doors, on a control role in memory. */
export const startApi = async (
  options: { control?: Control | null; proxy?: ControlProxy; peerOf?: PeerOf } = {},
): Promise<ApiServer> => {
  const control = new FakeControl()
  const role = options.control === undefined ? control : options.control
  const answers = new Map<string, IdempotentAnswer>()
  const joins: unknown[] = []
  const state = { problems: [] as string[] }
  const agentRouter = Router()
  agentRouter.get('/ping', (_request, response) => {
    response.json({ peer: response.locals.peer })
  })
  const local: LocalEndpoints = {
    version: () => ({
      version: '0.1.0',
      hostName: 'host1',
      hostId: hostIds[0],
      clusterId: theClusterId,
      control: role !== null,
    }),
    problems: async () => state.problems,
    init: () => control.issueToken(86_400_000),
    join: async (request) => {
      joins.push(request)
      if (request.token !== 'good') throw new DroverError('TOKEN_INVALID', 'the token is unknown, used or expired')
      return { hostName: 'host2', hostId: hostIds[1], clusterId: theClusterId, controlAddress: request.address }
    },
    admit: async (request) => {
      joins.push(request)
      const ids = { clusterId: theClusterId, hostId: hostIds[1], controlHostId: hostIds[0] }
      return { ...ids, caPem: 'ca', certPem: 'cert' }
    },
  }
  const api = createApi({
    control: () => role,
    proxyToControl: options.proxy ?? noProxy,
    local,
    auth: { peerOf: options.peerOf ?? peerOf },
    agentRouter,
    idempotency: {
      idempotentAnswer: async (key) => answers.get(key) ?? null,
      putIdempotentAnswer: async (answer) => void answers.set(answer.key, answer),
    },
    metrics: new Registry(),
    logger: silentLogger,
    clock: systemClock,
  })
  const localServer = createServer(api.local)
  const listener = await listenOnUnixSocket(localServer, join(await temporaryDirectory(), 'vold.sock'))
  const remoteServer = createServer(api.remote)
  await new Promise<void>((resolve) => remoteServer.listen(0, '127.0.0.1', resolve))
  const close = (server: Server) => new Promise<void>((resolve) => server.close(() => resolve()))
  const stop = async () => {
    api.close()
    const closed = [listener.close(), close(remoteServer)]
    for (const server of [localServer, remoteServer]) server.closeAllConnections()
    await Promise.all(closed)
  }
  onTestFinished(stop)
  const remote = `http://127.0.0.1:${(remoteServer.address() as AddressInfo).port}`
  return Object.assign(state, { control, socket: listener.path, remote, handler: api.remote, answers, joins, stop })
}
