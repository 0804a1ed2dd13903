import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { asDroverError, DroverError, hasCode } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import { readBody } from '../lib/http-body.ts'
import type { Logger } from '../lib/logger.ts'
import { listenOnUnixSocket, type UnixListener } from '../lib/unix-socket.ts'
import type { VolumeService } from '../volumes/volume-service.ts'
import { type Call, calls, defaultLimits, type PluginLimits } from './calls.ts'
import { type Answer, type Fields, IncompleteRequest, parseFields } from './wire.ts'
import { Works } from './works.ts'

export interface VolumePluginParts {
  readonly service: VolumeService
  readonly logger: Logger
  readonly clock: Clock
  readonly limits?: Partial<PluginLimits>
}

export interface VolumePlugin {
  /** Serves `<pluginDir>/drover.sock`, mode 0600; answers its path. @throws ADDRESS_TAKEN, NOT_PERMITTED, BAD_CONFIG */
  listen(pluginDir: string): Promise<string>
  /** Null while engines find us at that socket, else what is wrong, a line. */
  problem(): Promise<string | null>
  /** Serves there again when they do not; calls under way end. @throws as `listen` */
  listenAgain(): Promise<void>
  /** Takes the socket away first, then lets the calls under way end, for 10 s at most. Idempotent. */
  close(): Promise<void>
}

/** How long a stop waits for calls under way. */
const closeGraceMs = 10_000
const bodyLimitBytes = 1024 * 1024
const contentType = 'application/vnd.docker.plugins.v1.2+json'

/** Docker's volume plugin protocol on one side, the volumes of this host on the other. It decides nothing about volumes. */
export const createVolumePlugin = ({ service, logger, clock, limits }: VolumePluginParts): VolumePlugin => {
  const allLimits = { ...defaultLimits, ...limits }
  let listener: UnixListener | null = null
  let server = createServer()

  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    // No connection is ever kept: an engine that sends on one that is just closing retries with an empty body.
    response.setHeader('Connection', 'close')
    serve(request, response).catch((error: unknown) => {
      logger.error({ err: error, url: request.url }, 'a plugin call could not be answered')
      response.destroy()
    })
  }

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const startedAt = clock.monotonic()
    const path = request.url ?? ''
    const call = calls[path]
    if (call === undefined || request.method !== 'POST') {
      request.resume()
      return answer(response, 404, {
        Err: `NO_SUCH_ROUTE: ${request.method} ${path} is not a call of a volume plugin; send POST to one that is`,
      })
    }
    try {
      const body = await readBody(request, bodyLimitBytes)
      const fields = call.bodyless === true ? {} : parseFields(body)
      const result = await withinLimit(call, path, fields, request, response)
      answer(response, 200, { ...result, Err: '' })
      logger.debug({ call: path, name: fields.Name, ms: Math.round(clock.monotonic() - startedAt) }, 'plugin call')
    } catch (error) {
      const refusal = asDroverError(error)
      logger.warn({ call: path, code: refusal.code, err: refusal }, 'plugin call refused')
      if (call.dropWhenUnknown === true && !isTruth(refusal)) response.destroy()
      else answer(response, 500, { Err: `${refusal.code}: ${refusal.message}` })
    }
  }

  const works = new Works(service, logger)

  const withinLimit = async (
    call: Call,
    path: string,
    fields: Fields,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Answer> => {
    const limitMs = isBrief(request) ? Math.min(allLimits.briefMs, allLimits[call.limit]) : allLimits[call.limit]
    const over = new AbortController()
    const { work, leave } = works.join(call, path, fields, () => response.closed)
    const tooLong = clock.sleep(limitMs, over.signal).then(() => {
      leave()
      throw tookTooLong(path, fields, limitMs)
    })
    try {
      return await Promise.race([work, tooLong])
    } finally {
      over.abort()
      tooLong.catch(() => undefined)
    }
  }

  const tookTooLong = (path: string, fields: Fields, limitMs: number): DroverError => {
    const name = typeof fields.Name === 'string' ? fields.Name : ''
    const what = `${path.slice(path.indexOf('.') + 1)} of volume ${JSON.stringify(name)}`
    const goingOn = service.goingOn(name)
    return new DroverError(
      'TIMED_OUT',
      `${what} is still under way after ${limitMs} ms${goingOn === null ? '' : `: it ${goingOn}`}; it goes on by itself, try again in a while`,
      { details: { limitMs, goingOn } },
    )
  }

  return {
    async listen(pluginDir) {
      server = createServer(onRequest)
      listener = await listenOnUnixSocket(server, join(pluginDir, 'drover.sock'))
      logger.info({ socket: listener.path }, 'volume plugin listens')
      return listener.path
    },
    async problem() {
      if (listener === null || (await listener.isOurs())) return null
      return `no engine finds the volume plugin: ${listener.path} is not the socket that vold made`
    },
    async listenAgain() {
      if (listener === null || (await listener.isOurs())) return
      const { path } = listener
      const lost = listener
      server = createServer(onRequest)
      listener = await listenOnUnixSocket(server, path)
      void lost.close()
      logger.warn({ socket: path }, 'volume plugin listens again; its socket had gone')
    },
    async close() {
      const enough = new AbortController()
      if (listener === null) return
      const closed = listener.close().finally(() => enough.abort())
      const grace = clock.sleep(closeGraceMs, enough.signal).then(
        () => server.closeAllConnections(),
        () => undefined,
      )
      await Promise.all([closed, grace])
    },
  }
}

/** podman waits 5 s for anything, and is the one client that says what type its body has (seen: 4.3; Docker says none). */
const isBrief = (request: IncomingMessage): boolean => request.headers['content-type'] !== undefined

/** What an engine may take for the truth about a volume's existence. */
const isTruth = (error: DroverError): boolean =>
  !(error instanceof IncompleteRequest) && hasCode(error, 'NO_SUCH_VOLUME', 'BAD_NAME')

const answer = (response: ServerResponse, status: number, body: Answer): void => {
  if (response.destroyed) return
  const text = `${JSON.stringify(body)}\n`
  response.writeHead(status, { 'Content-Type': contentType, 'Content-Length': Buffer.byteLength(text) })
  response.end(text)
}
