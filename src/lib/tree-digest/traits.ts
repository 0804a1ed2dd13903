import { createHash } from 'node:crypto'
import { type BigIntStats, readlinkSync } from 'node:fs'
import { errorCode } from './error-code.ts'
import type { Found } from './walk.ts'
import { xattrsOf } from './xattrs.ts'

/** What a name is and carries, but for its bytes; every trait is text, so that two sides can be compared and told to a person. */
export interface Traits {
  readonly type: string
  readonly mode: string
  readonly owner: string
  readonly size: string
  /** Of regular files only: a directory's says no more than its names do, and backends write it when they receive. */
  readonly mtime: string
  readonly device: string
  /** Digest of a symlink's target. */
  readonly target: string
  /** Digest of names and values, ACLs among them. */
  readonly xattrs: string
  /** The first name of the same file. */
  readonly link: string
  readonly error: string
}

export const traitNames = [
  'type',
  'mode',
  'owner',
  'size',
  'mtime',
  'device',
  'target',
  'xattrs',
  'link',
  'error',
] as const satisfies readonly (keyof Traits)[]

export const traitsOf = ({ place, path, stats, linkTo, error }: Found): Traits => {
  if (stats === null) return { ...noTraits, type: 'unreadable', error: error ?? 'unknown' }
  const isFile = stats.isFile()
  const isDevice = stats.isCharacterDevice() || stats.isBlockDevice()
  let failed = error ?? ''
  const tried = (work: () => string): string => {
    try {
      return work()
    } catch (thrown) {
      failed ||= errorCode(thrown)
      return ''
    }
  }
  const target = stats.isSymbolicLink() ? tried(() => hashed([readlinkSync(place, { encoding: 'buffer' })])) : ''
  const xattrs = tried(() => xattrDigest(place))
  return {
    type: typeOf(stats),
    mode: (stats.mode & 0o7777n).toString(8),
    owner: `${stats.uid}:${stats.gid}`,
    size: isFile ? String(stats.size) : '',
    mtime: isFile && path.length > 0 ? String(stats.mtimeNs) : '',
    device: isDevice ? String(stats.rdev) : '',
    target,
    xattrs,
    link: linkTo ?? '',
    error: failed,
  }
}

/** Of nothing that is there. */
export const noTraits: Traits = {
  type: '',
  mode: '',
  owner: '',
  size: '',
  mtime: '',
  device: '',
  target: '',
  xattrs: '',
  link: '',
  error: '',
}

const typeOf = (stats: BigIntStats): string => {
  if (stats.isFile()) return 'file'
  if (stats.isDirectory()) return 'directory'
  if (stats.isSymbolicLink()) return 'symlink'
  if (stats.isFIFO()) return 'fifo'
  if (stats.isSocket()) return 'socket'
  return stats.isCharacterDevice() ? 'character device' : 'block device'
}

/** How the pool stores the file (btrfs: compression), or its ACL (xfs, beside the ACL's own name), not what is in it. */
const poolsOwn = ['btrfs.', 'trusted.SGI_ACL_'].map((start) => Buffer.from(start))

const xattrDigest = (place: Buffer): string => {
  const all = xattrsOf(place).filter(
    ({ name }) => !poolsOwn.some((start) => name.subarray(0, start.length).equals(start)),
  )
  return all.length === 0 ? '' : hashed(all.flatMap(({ name, value }) => [name, value]))
}

/** Each part with its length before it: no two lists of parts are the same bytes. */
export const hashed = (parts: readonly Uint8Array[]): string => {
  const hash = createHash('sha256')
  const length = Buffer.alloc(8)
  for (const part of parts) {
    length.writeBigUInt64BE(BigInt(part.length))
    hash.update(length).update(part)
  }
  return hash.digest('hex')
}
