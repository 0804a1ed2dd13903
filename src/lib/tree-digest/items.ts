import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { errorCode } from './error-code.ts'
import { hashed, type Traits, traitNames, traitsOf } from './traits.ts'
import { type Found, walk } from './walk.ts'

/** Where a digest can be taken up again: a name, and a segment of its bytes. */
export interface Position {
  readonly ordinal: number
  readonly segment: number
}

export const beginning: Position = { ordinal: 0, segment: 0 }

/** A name with its traits and up to one segment of its bytes; a big file has further items with the next segments. */
export interface Item extends Position {
  readonly path: Buffer
  readonly traits: Traits
  /** Digest of the segment; empty for what has no bytes of its own. */
  readonly content: string
  /** What kept it from being read whole; empty: nothing. */
  readonly error: string
  readonly bytes: number
  readonly digest: string
  /** The position after it. */
  readonly next: Position
}

export const segmentBytes = 64 * 2 ** 20

/**
 * Every item of the tree from a position on, which must be one that `next` gave. What comes before is looked at, not read.
 * @param part as for `walk`
 * @param isRead by its place in the walk, whether a file's bytes are read; left out: all are
 */
export function* items(
  top: string,
  from: Position = beginning,
  segment = segmentBytes,
  isRead: (ordinal: number) => boolean = () => true,
  part = '',
): Generator<Item, void> {
  for (const found of walk(top, part)) {
    if (found.ordinal < from.ordinal) continue
    const traits = traitsOf(found)
    const first = found.ordinal === from.ordinal ? from.segment : 0
    if (found.stats?.isFile() !== true || found.linkTo !== null || !isRead(found.ordinal))
      yield item(found, traits, 0, nothing, true)
    else yield* fileItems(found, traits, first, segment)
  }
}

interface Piece {
  readonly content: string
  readonly error: string
  readonly bytes: number
}

const nothing: Piece = { content: '', error: '', bytes: 0 }

function* fileItems(found: Found, traits: Traits, first: number, segment: number): Generator<Item, void> {
  const size = Number(found.stats?.size ?? 0n)
  const count = Math.max(1, Math.ceil(size / segment))
  let fd: number
  try {
    fd = openSync(found.place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (thrown) {
    yield item(found, traits, first, { ...nothing, error: errorCode(thrown) }, true)
    return
  }
  try {
    for (let index = first; index < count; index += 1) {
      const from = index * segment
      yield item(found, traits, index, piece(fd, from, Math.min(size, from + segment)), index === count - 1)
    }
  } finally {
    closeSync(fd)
  }
}

const buffer = Buffer.allocUnsafeSlow(2 ** 20)

const piece = (fd: number, from: number, to: number): Piece => {
  const hash = createHash('sha256')
  let at = from
  try {
    while (at < to) {
      const read = readSync(fd, buffer, 0, Math.min(buffer.length, to - at), at)
      if (read === 0) return { content: hash.digest('hex'), error: 'shorter than its size', bytes: at - from }
      hash.update(read === buffer.length ? buffer : buffer.subarray(0, read))
      at += read
    }
    return { content: hash.digest('hex'), error: '', bytes: at - from }
  } catch (thrown) {
    return { content: hash.digest('hex'), error: errorCode(thrown), bytes: at - from }
  }
}

const item = (found: Found, traits: Traits, segment: number, { content, error, bytes }: Piece, last: boolean): Item => {
  const { ordinal, path } = found
  const texts = [String(segment), ...traitNames.map((name) => traits[name]), content, error]
  return {
    ordinal,
    segment,
    path,
    traits,
    content,
    error: error || traits.error,
    bytes,
    digest: hashed([path, ...texts.map((text) => Buffer.from(text))]),
    next: last ? { ordinal: ordinal + 1, segment: 0 } : { ordinal, segment: segment + 1 },
  }
}
