import { Agent, request } from 'node:http'

export interface Answer {
  readonly status: number
  readonly text: string
  readonly ms: number
}

/** A client of one unix socket that keeps its connections. */
export class SocketClient {
  readonly #agent = new Agent({ keepAlive: true })
  readonly #socketPath: string

  constructor(socketPath: string) {
    this.#socketPath = socketPath
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.call('POST', path, body, headers)
  }

  call(
    method: 'GET' | 'POST' | 'DELETE',
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    const text = body === undefined ? '' : JSON.stringify(body)
    const startedAt = performance.now()
    return new Promise((resolve, reject) => {
      const call = request({
        socketPath: this.#socketPath,
        path,
        method,
        agent: this.#agent,
        headers: { 'content-length': Buffer.byteLength(text), ...headers },
      })
      call.once('error', reject)
      call.once('response', (response) => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('error', reject)
        response.once('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString(),
            ms: performance.now() - startedAt,
          }),
        )
      })
      call.end(text)
    })
  }

  close(): void {
    this.#agent.destroy()
  }
}
