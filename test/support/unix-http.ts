import { request } from 'node:http'
import { createConnection } from 'node:net'

export interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly text: string
}

/** One HTTP request over a unix socket, its body sent as it stands. */
export const overUnix = (
  socketPath: string,
  path: string,
  options: { method?: string; body?: string | Buffer; headers?: Record<string, string> } = {},
): Promise<RawAnswer> =>
  new Promise((resolve, reject) => {
    const call = request({ socketPath, path, method: options.method ?? 'GET', headers: options.headers ?? {} })
    call.on('error', reject)
    call.on('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text: Buffer.concat(chunks).toString('utf8'),
        }),
      )
    })
    call.end(options.body)
  })

/** Exactly these bytes; everything that comes back until the other end closes. */
export const rawOverUnix = (socketPath: string, bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(socketPath)
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('utf8')
    })
    socket.on('error', reject)
    socket.on('close', () => resolve(text))
    socket.write(bytes)
  })
