import { createHash } from 'node:crypto'
import { printable } from '../../lib/tree-digest/chunks.ts'
import { items } from '../../lib/tree-digest/items.ts'
import type { Proof } from './frames.ts'

const entriesPerDigest = 1024

/** So begins what `compareWith` says of another tree. */
export const notWhatWasSent = 'what was written is not what was sent'

interface Stretch {
  readonly digest: string
  readonly entries: number
  readonly first: Buffer
}

/**
 * What is proved of a tree: every name and trait in it, and the bytes of the files that were touched. Those of the others are the
 * base's, which was proved when it was received.
 * @throws Error when something cannot be read
 */
export const prove = (top: string, touched: ReadonlySet<number> | null): Proof => {
  const read: number[] = []
  let last = 0
  for (const ordinal of [...(touched ?? [])].sort((a, b) => a - b)) {
    read.push(ordinal - last)
    last = ordinal
  }
  const stretches = [...stretchesOf(top, touched)]
  return {
    digests: stretches.map(({ digest }) => digest),
    entries: stretches.reduce((sum, { entries }) => sum + entries, 0),
    read: touched === null ? null : read,
  }
}

/** @throws Error naming about where the tree is another */
export const compareWith = (top: string, { digests, entries, read }: Proof): void => {
  let count = 0
  let index = 0
  for (const stretch of stretchesOf(top, touchedIn(read))) {
    if (digests[index] !== stretch.digest) {
      throw new Error(`${notWhatWasSent}: it differs at or after ${printable(stretch.first)}`)
    }
    index += 1
    count += stretch.entries
  }
  if (index !== digests.length || count !== entries) {
    throw new Error(`${notWhatWasSent}: ${count} names instead of ${entries}`)
  }
}

const touchedIn = (read: readonly number[] | null): ReadonlySet<number> | null => {
  if (read === null) return null
  let last = 0
  return new Set(
    read.map((distance) => {
      last += distance
      return last
    }),
  )
}

function* stretchesOf(top: string, touched: ReadonlySet<number> | null): Generator<Stretch, void> {
  let hash = createHash('sha256')
  let first: Buffer | null = null
  let entries = 0
  const isRead = touched === null ? undefined : (ordinal: number) => touched.has(ordinal)
  for (const { path, segment, digest, error } of items(top, undefined, undefined, isRead)) {
    if (error !== '') throw new Error(`${printable(path)} cannot be read (${error})`)
    if (segment === 0 && entries === entriesPerDigest && first !== null) {
      yield { digest: hash.digest('base64'), entries, first }
      hash = createHash('sha256')
      first = null
      entries = 0
    }
    first ??= path
    if (segment === 0) entries += 1
    hash.update(digest, 'hex')
  }
  if (first !== null) yield { digest: hash.digest('base64'), entries, first }
}
