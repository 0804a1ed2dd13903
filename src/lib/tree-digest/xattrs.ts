import { constants } from 'node:os'
import koffi from 'koffi'
import { errnoError } from '../errno.ts'

/** Node.js has no call for extended attributes, and every program that prints them takes paths as text: libc takes bytes. */
const libc = koffi.load(null)
const llistxattr = libc.func('long llistxattr(const uint8_t *path, _Out_ uint8_t *list, size_t size)')
const lgetxattr = libc.func(
  'long lgetxattr(const uint8_t *path, const uint8_t *name, _Out_ uint8_t *value, size_t size)',
)

/** Linux gives neither a list nor a value above 64 KiB. */
const list = Buffer.alloc(65_536)
const value = Buffer.alloc(65_536)
const end = Buffer.from([0])

export interface Xattr {
  /** With its namespace: `user.x`, `system.posix_acl_access`. */
  readonly name: Buffer
  readonly value: Buffer
}

/** The attributes of the very file at `path`, a link not followed, in the order of their names' bytes. @throws errno errors */
export const xattrsOf = (path: Buffer): Xattr[] => {
  const file = Buffer.concat([path, end])
  const length = Number(llistxattr(file, list, list.length))
  if (length < 0) {
    if (koffi.errno() === constants.errno.ENOTSUP) return []
    throw errnoError('llistxattr', koffi.errno())
  }
  const names: Buffer[] = []
  for (let from = 0; from < length; ) {
    const to = list.indexOf(0, from)
    names.push(Buffer.from(list.subarray(from, to + 1)))
    from = to + 1
  }
  return names.toSorted(Buffer.compare).map((name) => {
    const size = Number(lgetxattr(file, name, value, value.length))
    if (size < 0) throw errnoError('lgetxattr', koffi.errno())
    return { name: name.subarray(0, -1), value: Buffer.from(value.subarray(0, size)) }
  })
}
