import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import express, { type NextFunction, type Request, type Response, type Router } from 'express'
import { Histogram, type Registry } from 'prom-client'
import type { PeerOf } from '../cluster/cluster.ts'
import type { Control } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { createControlHandlers } from './control-handlers.ts'
import { type Endpoint, endpoints } from './endpoints.ts'
import type { Caller, LocalEndpoints } from './handlers.ts'
import { createHereHandlers } from './here-handlers.ts'
import { type AnswerKeeper, createIdempotency } from './idempotency.ts'
import { sendProblem } from './problem.ts'
import type { ControlProxy } from './proxy.ts'
import { type AnyHandler, createServe } from './serve.ts'

export interface ApiParts {
  /** The control role while this host has it, else null: a join changes it without a restart. */
  control(): Control | null
  readonly proxyToControl: ControlProxy
  readonly local: LocalEndpoints
  /** Who is at the other end of a TLS connection. */
  readonly auth: { readonly peerOf: PeerOf }
  /** Answers under /agent, for hosts of the cluster only; `response.locals.peer` is the HostId that asks. Reads its own bodies. */
  readonly agentRouter: Router
  /** Asked only while `control()` is not null. */
  readonly idempotency: AnswerKeeper
  readonly metrics: Registry
  readonly logger: Logger
  readonly clock: Clock
}

export interface Api {
  /** For the unix socket that only root can open. */
  readonly local: RequestListener
  /** For the TLS listener. */
  readonly remote: RequestListener
  /** Ends the event streams, so that the servers can close. */
  close(): void
}

const open = new Set<string>(Object.values(endpoints).flatMap(({ who, path }) => (who === 'anyone' ? [path] : [])))

/** The REST API: one app behind two doors. Which door a request came through is told by the door, not by the request. */
export const createApi = (parts: ApiParts): Api => {
  const { auth, agentRouter, logger, clock, local } = parts
  const stop = new AbortController()
  const fromSocket = new WeakSet<IncomingMessage>()
  const seconds = new Histogram({
    name: 'drover_http_request_duration_seconds',
    help: 'Time to answer a request of the REST API',
    labelNames: ['method', 'route', 'status'],
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers: [parts.metrics],
  })

  const callerOf = (request: IncomingMessage): Caller => {
    if (fromSocket.has(request)) return { kind: 'socket' }
    const peer = auth.peerOf(request)
    return peer === null ? { kind: 'nobody' } : { kind: 'host', hostId: peer }
  }

  const app = express()
  app.disable('x-powered-by')
  app.enable('strict routing')
  app.enable('case sensitive routing')

  app.use((request: Request, _response: Response, next: NextFunction) => {
    if (callerOf(request).kind === 'nobody' && !open.has(request.path)) {
      throw new DroverError(
        'UNAUTHENTICATED',
        'this needs a certificate of the cluster; join it, or use the unix socket',
      )
    }
    next()
  })

  app.use(
    '/agent',
    (request: Request, response: Response, next: NextFunction) => {
      const caller = callerOf(request)
      if (caller.kind !== 'host') {
        throw new DroverError('FORBIDDEN', 'what hosts ask of each other is not for the unix socket; use /v1')
      }
      response.locals.peer = caller.hostId
      next()
    },
    agentRouter,
  )

  const controlHandlers = createControlHandlers({ local, clock, stop: stop.signal })
  const handlers = { ...controlHandlers, ...createHereHandlers(local, parts.metrics) }
  const idempotency = createIdempotency(parts.idempotency, clock, logger)
  const serve = createServe({ control: parts.control, proxyToControl: parts.proxyToControl, idempotency, callerOf })
  for (const [name, endpoint] of Object.entries<Endpoint>(endpoints)) {
    // The table's type holds every handler to its endpoint; a loop over it cannot say so.
    const handler = handlers[name as keyof typeof handlers] as unknown as AnyHandler
    app[endpoint.method](
      endpoint.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      async (request: Request, response: Response) => {
        const startedAt = clock.monotonic()
        try {
          await serve(endpoint, handler, request, response)
        } catch (error) {
          refuse(request, response, error)
        } finally {
          const labels = { method: endpoint.method, route: endpoint.path, status: response.statusCode }
          seconds.observe(labels, (clock.monotonic() - startedAt) / 1000)
        }
      },
    )
  }

  app.use((request: Request) => {
    throw new DroverError('NO_SUCH_ROUTE', `there is no ${request.method} ${request.path}; see /v1/openapi.json`)
  })

  // Express knows an error handler by its four parameters.
  app.use((error: unknown, request: Request, response: Response, _next: NextFunction) => {
    refuse(request, response, fromExpress(error))
  })

  const refuse = (request: Request, response: ServerResponse, thrown: unknown): void => {
    const error = sendProblem(response, thrown)
    const fields = { method: request.method, path: request.path, code: error.code }
    if (error.code === 'INTERNAL') logger.error({ ...fields, err: thrown }, 'a request failed')
    else logger.debug({ ...fields, detail: error.message }, 'a request was refused')
  }

  const answer = app as unknown as RequestListener
  return {
    local(request, response) {
      fromSocket.add(request)
      answer(request, response)
    },
    remote: (request, response) => answer(request, response),
    close: () => stop.abort(),
  }
}

/** Express itself throws only for an address that it cannot decode. */
const fromExpress = (error: unknown): unknown =>
  error instanceof URIError || (error instanceof Error && 'status' in error && error.status === 400)
    ? new DroverError('BAD_REQUEST', `the address cannot be decoded: ${error.message}`)
    : error
