import { createHash, type Hash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { VolumeFileSystem } from '../device.ts'

/**
 * The block stream, version 1. All numbers are little endian.
 *
 *     head   16 bytes `drover-blocks-1\n`, u32 length, that many bytes of JSON (StreamHead)
 *     data   u8 1, u64 offset, u32 length, u32 crc32 of the bytes, the bytes (at most 1 MiB)
 *     zeros  u8 2, u64 offset, u64 length
 *     end    u8 3, u64 number of extents, 32 bytes sha256 of all that came before, with the crc of each extent in place of its bytes
 *
 * Extents come in order of their offsets and do not overlap. Without a base, what no extent names is zero; upon a base it is what the
 * base has there. A stream without its end proves nothing.
 *
 * One that goes on at `resumedAt` leaves out the extents before that, which the receiver has. Its end counts them all the same: each side
 * reads again what it has there, the receiver from its disk, and the two agree at the end as they do on a stream that was sent whole.
 */
export interface StreamHead {
  readonly streamUuid: string
  /** The snapshot that it goes upon; null: it is whole. */
  readonly baseUuid: string | null
  readonly sizeBytes: number
  readonly fileSystem: VolumeFileSystem
  /** Absent: from the start. */
  readonly resumedAt?: number
}

export const magic = Buffer.from('drover-blocks-1\n')
export const kind = { data: 1, zeros: 2, end: 3 } as const
export const longestExtent = 2 ** 20
export const dataHeadBytes = 17
export const zerosBytes = 17
export const endBytes = 41
export const longestHead = 4096

export const encodeHead = (head: StreamHead): Buffer => {
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.alloc(4)
  length.writeUInt32LE(text.length)
  return Buffer.concat([magic, length, text])
}

/** Writes the head of a data extent into the first bytes of `into`; the bytes follow it. */
export const encodeData = (into: Buffer, offset: number, bytes: Buffer): void => {
  into.writeUInt8(kind.data, 0)
  into.writeBigUInt64LE(BigInt(offset), 1)
  into.writeUInt32LE(bytes.length, 9)
  into.writeUInt32LE(crc32(bytes), 13)
}

export const encodeZeros = (into: Buffer, offset: number, length: number): void => {
  into.writeUInt8(kind.zeros, 0)
  into.writeBigUInt64LE(BigInt(offset), 1)
  into.writeBigUInt64LE(BigInt(length), 9)
}

/** What both ends count of a stream, to agree on it at its end. */
export class Tally {
  readonly #hash: Hash = createHash('sha256')
  #extents = 0n

  head(bytes: Buffer): void {
    this.#hash.update(bytes)
  }

  extent(head: Buffer): void {
    this.#extents += 1n
    this.#hash.update(head)
  }

  end(): Buffer {
    const bytes = Buffer.alloc(endBytes)
    bytes.writeUInt8(kind.end, 0)
    bytes.writeBigUInt64LE(this.#extents, 1)
    this.#hash.digest().copy(bytes, 9)
    return bytes
  }
}

/** Which stream, and upon what. */
export interface StreamIdentity {
  readonly streamUuid: string
  readonly baseUuid: string | null
}

export const isStreamIdentity = (value: unknown): value is StreamIdentity =>
  typeof value === 'object' &&
  value !== null &&
  'streamUuid' in value &&
  typeof value.streamUuid === 'string' &&
  'baseUuid' in value &&
  (value.baseUuid === null || typeof value.baseUuid === 'string')
