import { connect, type Socket } from 'node:net'

/** Milliseconds; a query that takes longer has an unknown outcome, and so has one whose connection broke. */
const patience = { connect: 500, query: 10_000 }

interface Waiting {
  resolve(): void
  reject(error: Error): void
}

/** One connection to PostgreSQL: just enough of its wire protocol to know which commits were acknowledged, and when. */
export class Connection {
  readonly #socket: Socket
  #buffer = Buffer.alloc(0)
  #waiting: Waiting | null = null
  #refusal: Error | null = null

  private constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.#take(chunk))
    socket.on('error', (error) => this.#end(error))
    socket.on('close', () => this.#end(new Error('the connection was closed')))
  }

  /** As user and database `postgres`, without a password. */
  static async open(host: string, port: number, connectMs = patience.connect): Promise<Connection> {
    const connection = new Connection(connect({ host, port }))
    const parameters = Buffer.from('user\0postgres\0database\0postgres\0\0')
    const head = Buffer.alloc(8)
    head.writeInt32BE(parameters.length + 8, 0)
    head.writeInt32BE(3 << 16, 4) // protocol 3.0
    await connection.#ask(Buffer.concat([head, parameters]), connectMs)
    return connection
  }

  /** Resolves when the server has said that it is done: a statement of its own is committed then. */
  query(sql: string): Promise<void> {
    const text = Buffer.from(`${sql}\0`)
    const head = Buffer.alloc(5)
    head.write('Q')
    head.writeInt32BE(text.length + 4, 1)
    return this.#ask(Buffer.concat([head, text]), patience.query)
  }

  close(): void {
    this.#socket.destroy()
  }

  async #ask(message: Buffer, timeoutMs: number): Promise<void> {
    // It ended while nothing was asked: nobody would tell any more.
    if (this.#socket.destroyed) throw this.#refusal ?? new Error('the connection was closed')
    const timer = setTimeout(() => this.#socket.destroy(new Error(`no answer in ${timeoutMs} ms`)), timeoutMs)
    try {
      await new Promise<void>((resolve, reject) => {
        this.#waiting = { resolve, reject }
        this.#socket.write(message)
      })
    } finally {
      clearTimeout(timer)
    }
  }

  /** Messages are a letter, a length that counts itself, and a body. */
  #take(chunk: Buffer): void {
    this.#buffer = Buffer.concat([this.#buffer, chunk])
    while (this.#buffer.length >= 5) {
      const length = 1 + this.#buffer.readInt32BE(1)
      if (this.#buffer.length < length) return
      const body = this.#buffer.subarray(5, length)
      const kind = String.fromCharCode(this.#buffer[0] ?? 0)
      this.#buffer = this.#buffer.subarray(length)
      if (kind === 'E') this.#refusal = new Error(/\0M([^\0]*)/.exec(body.toString())?.[1] ?? 'the server refused')
      if (kind === 'Z') this.#settle()
    }
  }

  /** Ready for a query: the last one ended, well or with a refusal. */
  #settle(): void {
    const waiting = this.#waiting
    const refusal = this.#refusal
    this.#waiting = null
    this.#refusal = null
    if (refusal === null) waiting?.resolve()
    else waiting?.reject(refusal)
  }

  #end(error: Error): void {
    this.#waiting?.reject(this.#refusal ?? error)
    this.#waiting = null
  }
}
