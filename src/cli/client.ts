import { type IncomingMessage, request } from 'node:http'
import { DroverError } from '../domain/errors.ts'
import { Refusal } from './failure.ts'

export type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'

/** The REST API of the local vold, over its unix socket. */
export interface Client {
  /** The JSON of the answer; undefined when it has none. @throws {Refusal}, DAEMON_UNREACHABLE, TIMED_OUT */
  call<T>(method: Method, path: string, body?: unknown): Promise<T>
  /** Every page. */
  all<T>(path: string): Promise<T[]>
  /** The open answer of an endless one. */
  stream(path: string, headers: Readonly<Record<string, string>>): Promise<IncomingMessage>
}

/** No request takes so long: moves are started and then looked at. */
const silenceMs = 150_000

export const createClient = (socketPath: string): Client => {
  const send = (
    method: Method,
    path: string,
    headers: Readonly<Record<string, string>>,
    body: unknown,
  ): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const call = request({ socketPath, method, path, headers, agent: false }, resolve)
      call.setTimeout(silenceMs, () => {
        call.destroy(new DroverError('TIMED_OUT', `vold has not answered ${method} ${path} for ${silenceMs / 1000} s`))
      })
      call.on('error', (error) => reject(error instanceof DroverError ? error : unreachable(socketPath, error)))
      call.end(body === undefined ? undefined : JSON.stringify(body))
    })

  const textOf = async (response: IncomingMessage): Promise<string> => {
    let text = ''
    response.setEncoding('utf8')
    try {
      for await (const chunk of response) text += chunk
    } catch (error) {
      throw unreachable(socketPath, error)
    }
    return text
  }

  const accept = async (response: IncomingMessage): Promise<IncomingMessage> => {
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return response
    throw new Refusal(status, problemFrom(await textOf(response), status))
  }

  const client: Client = {
    async call<T>(method: Method, path: string, body?: unknown) {
      const headers = {
        Accept: 'application/json',
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      }
      const text = await textOf(await accept(await send(method, path, headers, body)))
      return (text === '' ? undefined : parse(text)) as T
    },
    async all<T>(path: string) {
      const items: T[] = []
      let cursor: string | null = null
      do {
        const separator = path.includes('?') ? '&' : '?'
        const more: string = cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`
        const page: { items: T[]; nextCursor: string | null } = await client.call(
          'GET',
          `${path}${separator}limit=1000${more}`,
        )
        items.push(...page.items)
        cursor = page.nextCursor
      } while (cursor !== null)
      return items
    },
    async stream(path, headers) {
      return accept(await send('GET', path, { Accept: 'text/event-stream', ...headers }, undefined))
    },
  }
  return client
}

const parse = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new DroverError('INTERNAL', 'what answered is not a vold: its answer is not JSON; see --socket', {
      cause: error,
    })
  }
}

const problemFrom = (text: string, status: number): Readonly<Record<string, unknown>> => {
  const value = text === '' ? null : parse(text)
  return typeof value === 'object' && value !== null ? { ...value } : { status, detail: `vold answered ${status}` }
}

const unreachable = (socketPath: string, error: unknown): DroverError => {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  const advice =
    code === 'EACCES' || code === 'EPERM' ? 'run vol as root' : 'start vold, or name its socket with --socket'
  return new DroverError('DAEMON_UNREACHABLE', `vold does not answer on ${socketPath} (${code}); ${advice}`, {
    cause: error,
  })
}
