import { createHash } from 'node:crypto'
import { type BigIntStats, closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs'
import { errorCode } from './error-code.ts'

/** One name in a tree. Names are bytes: they may hold newlines and need not be UTF-8. */
export interface Found {
  /** Counted from 0, the top, in the order of the walk. */
  readonly ordinal: number
  /** Within the tree, without a slash before; empty: the top itself. */
  readonly path: Buffer
  /** Where to reach it now; good until the walk goes on. */
  readonly place: Buffer
  readonly stats: BigIntStats | null
  /** Set on every further name of a file: the mark of the first one. */
  readonly linkTo: string | null
  /** What kept it, or the names in it, from being read. */
  readonly error: string | null
}

interface Frame {
  readonly fd: number
  readonly prefix: Buffer
  readonly names: Buffer[]
}

/**
 * Every name below `top`, and it: a directory before what is in it, names by their bytes, so that equal trees are walked alike
 * whatever lies below them. Each directory is entered through a descriptor of the one above: no path is too long.
 * @param part a name in `top` to walk alone, under that name; empty: all of it
 */
export function* walk(top: string, part = ''): Generator<Found, void> {
  const frames: Frame[] = []
  const links = new Links()
  let ordinal = 0
  try {
    const enter = (place: Buffer, path: Buffer): Found => {
      let stats: BigIntStats | null = null
      let error: string | null = null
      try {
        stats = lstatSync(place, { bigint: true })
        if (stats.isDirectory()) frames.push(open(place, path))
      } catch (thrown) {
        error = errorCode(thrown)
      }
      const linkTo = stats === null ? null : links.see(path, stats)
      return { ordinal: ordinal++, path, place, stats, linkTo, error }
    }
    yield enter(Buffer.from(part === '' ? top : `${top}/${part}`), Buffer.from(part))
    for (let frame = frames.at(-1); frame !== undefined; frame = frames.at(-1)) {
      const name = frame.names.pop()
      if (name === undefined) {
        closeSync(frame.fd)
        frames.pop()
        continue
      }
      const place = Buffer.concat([Buffer.from(`/proc/self/fd/${frame.fd}/`), name])
      yield enter(place, Buffer.concat([frame.prefix, name]))
    }
  } finally {
    for (const { fd } of frames) closeSync(fd)
  }
}

const slash = Buffer.from('/')

const open = (place: Buffer, path: Buffer): Frame => {
  const fd = openSync(place, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    // The last first: names are taken from the end.
    const names = readdirSync(`/proc/self/fd/${fd}`, { encoding: 'buffer' }).toSorted((a, b) => Buffer.compare(b, a))
    return { fd, names, prefix: path.length === 0 ? path : Buffer.concat([path, slash]) }
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

/** Files that have several names. Forgotten as soon as the last name was seen, so that memory holds only open groups. */
class Links {
  readonly #open = new Map<bigint, { first: string; left: bigint }>()

  see(path: Buffer, stats: BigIntStats): string | null {
    if (stats.nlink < 2n || stats.isDirectory()) return null
    const known = this.#open.get(stats.ino)
    if (known === undefined) {
      const first = createHash('sha256').update(path).digest('base64url').slice(0, 22)
      this.#open.set(stats.ino, { first, left: stats.nlink - 1n })
      return null
    }
    known.left -= 1n
    if (known.left === 0n) this.#open.delete(stats.ino)
    return known.first
  }
}
