import { read, write } from 'node:fs'
import { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { isErrno } from './files.ts'

const readInto = promisify(read)
const writeFrom = promisify(write)

/**
 * For a process whose stdin is read as a descriptor. Whoever looks at process.stdin makes that a stream,
 * and then a read that finds nothing yet fails with EAGAIN instead of waiting. So there is no such stream.
 */
export const keepStdinForReads = (): void => {
  Object.defineProperty(process, 'stdin', { value: Readable.from([]) })
}

/** For a process whose stdout is written as a descriptor: whoever looks at process.stdout has writes fail with EAGAIN when they should wait. */
export const keepStdoutForWrites = (): void => {
  const nothing = new Writable({ write: (_chunk, _encoding, done) => done() })
  Object.defineProperty(process, 'stdout', { value: nothing })
}

/** A reader that is slow is asked again, should the descriptor not wait by itself. */
const fullMs = 2

/** Writes to a descriptor, one block after the other, while the caller makes the next one. */
export class Output {
  readonly #fd: number
  #writing: Promise<void> = Promise.resolve()

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Resolves when the block before is written: that one's buffer is free then, this one's is not. @throws EPIPE and its kin */
  async write(bytes: Buffer): Promise<void> {
    await this.#writing
    this.#writing = this.#writeAll(bytes)
    this.#writing.catch(() => {})
  }

  /** Resolves when all is written. */
  end(): Promise<void> {
    return this.#writing
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    for (let done = 0; done < bytes.length; ) {
      try {
        done += (await writeFrom(this.#fd, bytes, done, bytes.length - done, null)).bytesWritten
      } catch (error) {
        if (!isErrno(error, 'EAGAIN')) throw error
        await sleep(fullMs)
      }
    }
  }
}

/** Exact counts of bytes from a descriptor, through one buffer. What was taken is good until the next call. */
export class Input {
  readonly #fd: number
  #buffer = Buffer.allocUnsafeSlow(2 ** 21)
  #from = 0
  #to = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  /** @throws Error when the stream ends before */
  async take(count: number): Promise<Buffer> {
    const bytes = await this.peek(count)
    this.#from += count
    return bytes
  }

  async peek(count: number): Promise<Buffer> {
    if (count > this.#buffer.length) throw new Error(`${count} bytes at once are more than a stream may have`)
    if (this.#from + count > this.#buffer.length) {
      this.#buffer.copyWithin(0, this.#from, this.#to)
      this.#to -= this.#from
      this.#from = 0
    }
    while (this.#to - this.#from < count) {
      const got = await this.#more()
      if (got === 0) throw new Error(`the stream ended ${count - (this.#to - this.#from)} bytes too soon`)
    }
    return this.#buffer.subarray(this.#from, this.#from + count)
  }

  async isEnd(): Promise<boolean> {
    if (this.#from < this.#to) return false
    this.#from = 0
    this.#to = 0
    return (await this.#more()) === 0
  }

  async #more(): Promise<number> {
    const { bytesRead } = await readInto(this.#fd, this.#buffer, this.#to, this.#buffer.length - this.#to, null)
    this.#to += bytesRead
    return bytesRead
  }
}
