/**
 * A tree stream, once its zstd is taken off, is a row of frames: a kind (1 byte), a length (4 bytes, big-endian), the bytes.
 *
 *     head   JSON: Head
 *     batch  bytes of rsync's batch, any number of frames
 *     proof  JSON: Proof
 *     end    nothing
 */
export const frameKinds = { head: 1, batch: 2, proof: 3, end: 4 } as const
export type FrameKind = keyof typeof frameKinds

export const formatVersion = 1
const headerBytes = 5
/** No frame is longer: what claims to be is no tree stream. */
export const mostBytes = 64 * 2 ** 20

/** What both ends must agree on before a byte of the batch is read. */
export interface Head {
  readonly version: number
  /** Identity of the snapshot, and of the one that the stream goes upon; null: it is whole. */
  readonly identity: string
  readonly baseIdentity: string | null
  readonly options: BatchOptions
}

/** Options of rsync that have to be the same where a batch is written and where it is read. */
export interface BatchOptions {
  readonly inPlace: boolean
  readonly ignoreTimes: boolean
  readonly blockBytes: number
}

/** What the tree has to be in the end. */
export interface Proof {
  /** A digest for every `entriesPerDigest` names, in the order of the walk. */
  readonly digests: readonly string[]
  readonly entries: number
  /** Places in the walk of the files whose bytes were read for it: each as the distance from the one before. Null: all files. */
  readonly read: readonly number[] | null
}

export const frame = (kind: FrameKind, bytes: Buffer = Buffer.alloc(0)): Buffer[] => {
  const header = Buffer.alloc(headerBytes)
  header.writeUInt8(frameKinds[kind], 0)
  header.writeUInt32BE(bytes.length, 1)
  return bytes.length === 0 ? [header] : [header, bytes]
}

export const jsonFrame = (kind: 'head' | 'proof', value: Head | Proof): Buffer[] =>
  frame(kind, Buffer.from(JSON.stringify(value)))

/** The frames in what arrives, whatever pieces it comes in. @throws Error on anything that is none, and at an end before `end` */
export async function* framesIn(pieces: AsyncIterable<Buffer>): AsyncGenerator<{ kind: FrameKind; bytes: Buffer }> {
  const waiting: Buffer[] = []
  let length = 0
  const take = (count: number): Buffer => {
    const all = waiting.length === 1 && waiting[0] !== undefined ? waiting[0] : Buffer.concat(waiting)
    waiting.length = 0
    if (all.length > count) waiting.push(all.subarray(count))
    length -= count
    return all.subarray(0, count)
  }
  let header: { kind: FrameKind; bytes: number } | null = null
  let isOver = false
  for await (const piece of pieces) {
    if (piece.length === 0) continue
    if (isOver) throw new Error('the stream goes on after its end')
    waiting.push(piece)
    length += piece.length
    for (;;) {
      if (header === null && length >= headerBytes) header = headerOf(take(headerBytes))
      if (header === null || length < header.bytes) break
      const { kind, bytes } = header
      header = null
      yield { kind, bytes: bytes === 0 ? Buffer.alloc(0) : take(bytes) }
      if (kind !== 'end') continue
      isOver = true
      if (length > 0) throw new Error('the stream goes on after its end')
      break
    }
  }
  if (!isOver) throw new Error('the stream ended too soon')
}

const headerOf = (bytes: Buffer): { kind: FrameKind; bytes: number } => {
  const number = bytes.readUInt8(0)
  const found = Object.entries(frameKinds).find(([, value]) => value === number)
  const length = bytes.readUInt32BE(1)
  if (found === undefined || length > mostBytes) throw new Error('this is no tree stream')
  return { kind: found[0] as FrameKind, bytes: length }
}
