import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import type { Range } from './differences.ts'

/*
 * Ranges of a device in a file, for who reads them later, maybe in another process: pairs of little endian doubles, start and end in bytes. In
 * order and apart.
 */
const pairBytes = 16
const atOnce = 4096

/** Neighbouring ranges become one. */
export const writeRanges = async (path: string, ranges: AsyncIterable<Range>): Promise<void> => {
  const file = await open(path, 'wx', 0o600)
  try {
    const writer = new Writer(file)
    let pending: Range | null = null
    for await (const range of ranges) {
      if (pending !== null && range.start <= pending.end) {
        pending = { start: pending.start, end: Math.max(pending.end, range.end) }
        continue
      }
      if (pending !== null) await writer.add(pending)
      pending = range
    }
    if (pending !== null) await writer.add(pending)
    await writer.flush()
  } finally {
    await file.close()
  }
}

class Writer {
  readonly #file: FileHandle
  readonly #bytes = Buffer.alloc(pairBytes * atOnce)
  #fill = 0

  constructor(file: FileHandle) {
    this.#file = file
  }

  async add({ start, end }: Range): Promise<void> {
    this.#bytes.writeDoubleLE(start, this.#fill)
    this.#bytes.writeDoubleLE(end, this.#fill + 8)
    this.#fill += pairBytes
    if (this.#fill === this.#bytes.length) await this.flush()
  }

  async flush(): Promise<void> {
    await this.#file.writeFile(this.#bytes.subarray(0, this.#fill))
    this.#fill = 0
  }
}

/** What was noted, up to `sizeBytes`. The file goes as soon as it is open: it is read once. */
export function* takeRanges(path: string, sizeBytes: number): Generator<Range, void> {
  const fd = openSync(path, 'r')
  try {
    rmSync(path, { force: true })
    const bytes = Buffer.alloc(pairBytes * atOnce)
    for (;;) {
      const length = readSync(fd, bytes, 0, bytes.length, null)
      if (length === 0) return
      if (length % pairBytes !== 0) throw new Error(`${path} is cut off`)
      for (let at = 0; at < length; at += pairBytes) {
        const [start, end] = [bytes.readDoubleLE(at), Math.min(bytes.readDoubleLE(at + 8), sizeBytes)]
        if (start < end) yield { start, end }
      }
    }
  } finally {
    closeSync(fd)
  }
}
