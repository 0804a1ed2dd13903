import koffi from 'koffi'

const lsetxattr = koffi
  .load(null)
  .func('int lsetxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)')

/** As `setfattr -h` does, which Debian does not bring along. @throws with the errno */
export const setXattr = (path: string | Buffer, name: string, value: Uint8Array | string): void => {
  const bytes = Buffer.from(value)
  const file = Buffer.concat([Buffer.from(path), Buffer.from([0])])
  if (lsetxattr(file, Buffer.from(`${name}\0`), bytes, bytes.length, 0) === 0) return
  throw new Error(`${name} cannot be set on ${path}: errno ${koffi.errno()}`)
}
