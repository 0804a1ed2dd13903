import { createHash } from 'node:crypto'
import { beginning, type Item, items, type Position } from './items.ts'

/** Says what is digested and how; another way of doing it is another name. */
export const algorithm = 'drover-tree-1-sha256'

/** A stretch of the walk. Where one ends depends on the tree alone: on equal trees all chunks are alike. */
export interface Chunk {
  readonly start: Position
  readonly next: Position
  readonly entries: number
  readonly bytes: number
  readonly digest: string
  /** Paths that could not be read, as text, the first few. */
  readonly unreadable: readonly string[]
}

export interface ChunkLimits {
  readonly bytes: number
  readonly items: number
}

export const chunkLimits: ChunkLimits = { bytes: 64 * 2 ** 20, items: 4096 }
const shownUnreadable = 10

/** The tree's digest, chunk by chunk, from the start of one of them on. `part` as for `walk`. */
export function* chunks(
  top: string,
  from: Position = beginning,
  limits: ChunkLimits = chunkLimits,
  part = '',
): Generator<Chunk, void> {
  for (const list of groups(top, from, limits, part)) {
    const [first] = list
    const last = list.at(-1)
    if (first === undefined || last === undefined) continue
    const hash = createHash('sha256')
    for (const { digest } of list) hash.update(digest, 'hex')
    yield {
      start: { ordinal: first.ordinal, segment: first.segment },
      next: last.next,
      entries: list.filter(({ segment }) => segment === 0).length,
      bytes: list.reduce((sum, { bytes }) => sum + bytes, 0),
      digest: hash.digest('hex'),
      unreadable: list
        .filter(({ error }) => error !== '')
        .slice(0, shownUnreadable)
        .map(({ path, error }) => `${printable(path)} (${error})`),
    }
  }
}

/** The items of the chunk that starts there. */
export const itemsOfChunk = (
  top: string,
  start: Position,
  limits: ChunkLimits = chunkLimits,
  part = '',
): readonly Item[] => {
  for (const list of groups(top, start, limits, part)) return list
  return []
}

function* groups(top: string, from: Position, limits: ChunkLimits, part: string): Generator<readonly Item[], void> {
  let list: Item[] = []
  let bytes = 0
  for (const item of items(top, from, limits.bytes, undefined, part)) {
    list.push(item)
    bytes += item.bytes
    if (bytes < limits.bytes && list.length < limits.items) continue
    yield list
    list = []
    bytes = 0
  }
  if (list.length > 0) yield list
}

/** The digest of the whole tree, from those of its chunks. */
export const treeDigest = (digests: Iterable<string>): string => {
  const hash = createHash('sha256').update(`${algorithm}\n`)
  for (const digest of digests) hash.update(digest, 'hex')
  return hash.digest('hex')
}

/** Bytes of a name for a person: what is not printable UTF-8 is escaped, so that two names never look alike. */
export const printable = (path: Buffer): string => {
  if (path.length === 0) return '.'
  const text = path.toString('utf8')
  if (Buffer.from(text).equals(path) && !/[\p{Cc}\p{Cf}\\]/u.test(text)) return text
  return [...path]
    .map((byte) =>
      byte > 0x1f && byte < 0x7f && byte !== 0x5c
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, '0')}`,
    )
    .join('')
}
