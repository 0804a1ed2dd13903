import { ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { isErrno } from '../../lib/files.ts'
import type { Chunk } from '../../lib/tree-digest/chunks.ts'

/** What was digested so far: a line that says of what, then a line for each chunk. What a crash left half written does not count. */
export interface ProgressFile {
  readonly done: readonly Chunk[]
  append(chunk: Chunk): void
}

/** @param of names algorithm, snapshot and identity: progress of anything else is thrown away */
export const openProgress = (path: string, of: string): ProgressFile => {
  const text = readText(path)
  const [header = '', ...lines] = text.split('\n')
  const done: Chunk[] = []
  let length = 0
  if (header === of && text.length > header.length) {
    length = Buffer.byteLength(header) + 1
    // The last piece has no end of line: it is empty, or cut off.
    for (const line of lines.slice(0, -1)) {
      const chunk = parse(line)
      if (chunk === null) break
      done.push(chunk)
      length += Buffer.byteLength(line) + 1
    }
  }
  const fd = openSync(path, 'a', 0o600)
  ftruncateSync(fd, length)
  if (length === 0) writeSync(fd, `${of}\n`)
  return { done, append: (chunk) => void writeSync(fd, `${JSON.stringify(chunk)}\n`) }
}

/** Some of the chunks that are in it, while its writer may go on. */
export const readChunks = async (path: string, from: number, limit: number): Promise<Chunk[]> => {
  const handle = await open(path, 'r')
  try {
    const found: Chunk[] = []
    let index = -1
    for await (const line of handle.readLines({ autoClose: false })) {
      if (index >= from + limit) break
      const chunk = index >= from ? parse(line) : null
      if (chunk !== null) found.push(chunk)
      index += 1
    }
    return found
  } finally {
    await handle.close()
  }
}

const readText = (path: string): string => {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return ''
    throw error
  }
}

const parse = (line: string): Chunk | null => {
  try {
    const chunk: Chunk = JSON.parse(line)
    return typeof chunk.digest === 'string' ? chunk : null
  } catch {
    return null
  }
}
