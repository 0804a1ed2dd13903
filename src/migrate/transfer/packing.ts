import { promisify } from 'node:util'
import { constants, zstdCompress, zstdDecompressSync } from 'node:zlib'
import { controlFrame } from './frames.ts'

const compress = promisify(zstdCompress)
/** The fastest level: a link that is worth compressing for still carries more than a slow one gives. */
const options = { params: { [constants.ZSTD_c_compressionLevel]: 1 } }
const countBytes = 4
const maxBytes = 2 ** 20
/** Less saved than this share, and it goes as it is. */
const worthwhile = 0.95

/** A `packed` frame of these bytes; null when they do not shrink. Each frame by itself, so that every count of bytes stays that of the raw stream. */
export const pack = async (bytes: Buffer): Promise<Buffer | null> => {
  const small = await compress(bytes, options)
  if (small.length + countBytes > bytes.length * worthwhile) return null
  const count = Buffer.alloc(countBytes)
  count.writeUInt32BE(bytes.length, 0)
  return controlFrame('packed', count, small)
}

/** @throws Error on what was not packed so */
export const unpack = (body: Buffer): Buffer => {
  const count = body.length < countBytes ? 0 : body.readUInt32BE(0)
  if (count < 1 || count > maxBytes) throw new Error('the peer sent a packed frame of no size')
  const bytes = zstdDecompressSync(body.subarray(countBytes), { maxOutputLength: count })
  if (bytes.length !== count) throw new Error(`a packed frame held ${bytes.length} bytes instead of ${count}`)
  return bytes
}
