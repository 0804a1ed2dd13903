import { Agent } from 'node:http'
import { DroverError } from '../domain/errors.ts'
import type { Clock } from '../lib/clock.ts'
import type { Logger } from '../lib/logger.ts'
import { Dockerode } from './dockerode.ts'

/** One call to the engine; it must hand `abortSignal` on. */
export type EngineAct<T> = (docker: Dockerode, abortSignal: AbortSignal) => Promise<T>

/** One engine, every call with a deadline and with errors of this house. */
export interface DockerClient {
  /**
   * @param what the call in words, for the error line: `stop container db`
   * @param deadlineMs how long the engine may take to answer
   * @param signal the caller's own wish to give up: its reason is thrown
   * @throws DOCKER_UNREACHABLE when nobody answers (in time), DOCKER_FAILED with `details.status` when the engine refuses
   */
  call<T>(what: string, deadlineMs: number, act: EngineAct<T>, signal?: AbortSignal): Promise<T>
  readonly socketPath: string
}

/** Answers that need no work of the engine. */
export const quickMs = 10_000
/** Start mounts volumes, and a volume plugin has two minutes for that. */
export const startMs = 150_000
/** Ends, too, wait for a plugin: one minute for Unmount. */
export const endMs = 90_000

export const parseSocketPath = (address: string): string => {
  const path = address.startsWith('unix://') ? address.slice('unix://'.length) : address
  if (path.startsWith('/')) return path
  throw new DroverError(
    'BAD_CONFIG',
    `Docker address ${JSON.stringify(address)} cannot be used; write unix:///PATH, such as unix:///var/run/docker.sock`,
  )
}

/** HTTP status of the engine's refusal, or null when the error is something else. */
export const refusalStatus = (error: unknown): number | null =>
  error instanceof DroverError && error.code === 'DOCKER_FAILED' && typeof error.details.status === 'number'
    ? error.details.status
    : null

export const isGone = (error: unknown): boolean => refusalStatus(error) === 404

/** Resolves to null where the engine says that the thing does not exist. */
export const orNull = async <T>(promise: Promise<T>): Promise<T | null> => {
  try {
    return await promise
  } catch (error) {
    if (isGone(error)) return null
    throw error
  }
}

/** For the calls whose types in dockerode leave no room for a signal. `T` is what the engine's documentation says. */
export const getJson =
  <T>(path: string): EngineAct<T> =>
  (docker, abortSignal) =>
    new Promise((resolve, reject) => {
      const statusCodes = { 200: true, 404: 'not found', 500: 'server error' }
      docker.modem.dial({ path, method: 'GET', abortSignal, statusCodes }, (error, answer) =>
        error === null ? resolve(answer as T) : reject(error),
      )
    })

export const createDockerClient = (options: { socketPath: string; clock: Clock; logger: Logger }): DockerClient => {
  const { clock, logger } = options
  const socketPath = parseSocketPath(options.socketPath)
  // An idle connection kept from before an engine's restart fails the next call; a fresh one on a unix socket costs nothing.
  const agent = new Agent({ keepAlive: false })
  // Host and protocol are given so that a DOCKER_HOST in the environment cannot send us to another engine.
  const clientOptions = { socketPath, host: '', protocol: 'http' as const, agent, timeout: 0 }
  const docker = new Dockerode(clientOptions)

  return {
    socketPath,
    async call(what, deadlineMs, act, signal) {
      signal?.throwIfAborted()
      const request = new AbortController()
      const timer = new AbortController()
      let late = false
      const onAbort = () => request.abort(signal?.reason)
      signal?.addEventListener('abort', onAbort, { once: true })
      const startedAt = clock.monotonic()
      const deadline = clock.sleep(deadlineMs, timer.signal).then(
        () => {
          late = true
          request.abort()
        },
        () => undefined,
      )
      // Not every call of dockerode heeds its signal, and none while it makes up its mind about the socket.
      const givenUp = new Promise<never>((_, reject) => {
        request.signal.addEventListener('abort', () => reject(request.signal.reason), { once: true })
      })
      try {
        return await Promise.race([act(docker, request.signal), givenUp])
      } catch (error) {
        if (signal?.aborted) throw signal.reason
        if (late) {
          throw new DroverError(
            'DOCKER_UNREACHABLE',
            `Docker at ${socketPath} did not answer within ${deadlineMs} ms to: ${what}; see what keeps the engine busy`,
            { cause: error },
          )
        }
        throw translate(error, what, socketPath)
      } finally {
        timer.abort()
        signal?.removeEventListener('abort', onAbort)
        await deadline
        logger.debug({ what, ms: Math.round(clock.monotonic() - startedAt) }, 'docker')
      }
    },
  }
}

const translate = (error: unknown, what: string, socketPath: string): unknown => {
  if (error instanceof DroverError) return error
  if (!(error instanceof Error)) return new DroverError('DOCKER_FAILED', `${what}: ${String(error)}`)
  if ('statusCode' in error && typeof error.statusCode === 'number') {
    return new DroverError('DOCKER_FAILED', `Docker refused to ${what}: ${engineWords(error)}`, {
      details: { status: error.statusCode },
      cause: error,
    })
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : error.message
  return new DroverError(
    'DOCKER_UNREACHABLE',
    `Docker at ${socketPath} does not answer (${code}) to: ${what}; see that dockerd runs and that --docker names its socket`,
    { cause: error },
  )
}

const engineWords = (error: Error): string => {
  const json = 'json' in error ? error.json : null
  const message =
    typeof json === 'object' && json !== null && 'message' in json && typeof json.message === 'string'
      ? json.message
      : error.message
  return message.trim().split('\n').join(' ')
}
