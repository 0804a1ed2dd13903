/**
 * Inside TLS, from sender to receiver. A frame is a header of 8 bytes (kind, three zero bytes, length as a big-endian 32-bit number)
 * and its body. `hello`, first on every link: the session's digest key and the link's number. `data`: bytes of the stream. `packed`:
 * the same under zstd, behind their count. `end`: byte count (64 bits) and digest as text. `failure`: a sentence. `alive`: nothing, so that a silent link
 * is told from a slow command. `done`: the verdict was heard, nobody will call again.
 */
export const headerBytes = 8
export const frameKinds = { hello: 1, data: 2, end: 3, failure: 4, alive: 5, packed: 6, done: 7 } as const
export type FrameKind = keyof typeof frameKinds

/** These are held in memory whole; data goes by in pieces. */
const maxControlBytes = 16_384
const maxPackedBytes = 2 ** 20
const maxDataBytes = 64 * 2 ** 20

const maxBodyBytes = (kind: FrameKind): number => {
  if (kind === 'data') return maxDataBytes
  return kind === 'packed' ? maxPackedBytes : maxControlBytes
}

export const writeHeader = (buffer: Buffer, kind: FrameKind, bodyBytes: number): void => {
  buffer.writeUInt32BE(frameKinds[kind] << 24, 0)
  buffer.writeUInt32BE(bodyBytes, 4)
}

export const controlFrame = (kind: FrameKind, ...parts: readonly Uint8Array[]): Buffer => {
  const header = Buffer.alloc(headerBytes)
  const frame = Buffer.concat([header, ...parts])
  writeHeader(frame, kind, frame.length - headerBytes)
  return frame
}

export const helloFrame = (key: Uint8Array, link: number): Buffer => {
  const number = Buffer.alloc(4)
  number.writeUInt32BE(link, 0)
  return controlFrame('hello', key, number)
}

/** @param keyBytes lengths that a key may have */
export const parseHello = (body: Buffer, keyBytes: readonly number[]): { key: Buffer; link: number } => {
  const length = body.length - 4
  if (!keyBytes.includes(length)) throw new Error('the hello frame is too short or too long')
  return { key: body.subarray(0, length), link: body.readUInt32BE(length) }
}

export const endFrame = (bytes: number, digest: string): Buffer => {
  const count = Buffer.alloc(8)
  count.writeBigUInt64BE(BigInt(bytes), 0)
  return controlFrame('end', count, Buffer.from(digest, 'latin1'))
}

export const parseEnd = (body: Buffer): { bytes: number; digest: string } => {
  if (body.length < 8) throw new Error('the end frame is too short')
  return { bytes: Number(body.readBigUInt64BE(0)), digest: body.toString('latin1', 8) }
}

export interface FrameHandler {
  data(piece: Buffer): void
  control(kind: Exclude<FrameKind, 'data'>, body: Buffer): void
}

/** Takes pieces of any size, as the link gives them. @throws Error on what is no frame. */
export const createFrameParser = (handler: FrameHandler): ((piece: Buffer) => void) => {
  const header = Buffer.alloc(headerBytes)
  let headerFill = 0
  let kind: FrameKind = 'data'
  let bodyLeft = 0
  let body: Buffer[] = []

  const begin = () => {
    const code = header.readUInt8(0)
    const known = (Object.keys(frameKinds) as FrameKind[]).find((name) => frameKinds[name] === code)
    bodyLeft = header.readUInt32BE(4)
    if (known === undefined || (header.readUInt32BE(0) & 0xffffff) !== 0) throw new Error('the peer sent no frame')
    if (bodyLeft > maxBodyBytes(known)) throw new Error('the peer sent too long a frame')
    kind = known
  }
  const finish = () => {
    headerFill = 0
    if (kind === 'data') return
    const whole = Buffer.concat(body)
    body = []
    handler.control(kind, whole)
  }
  return (piece) => {
    let at = 0
    while (at < piece.length) {
      if (headerFill < headerBytes) {
        const n = Math.min(headerBytes - headerFill, piece.length - at)
        piece.copy(header, headerFill, at, at + n)
        headerFill += n
        at += n
        if (headerFill < headerBytes) return
        begin()
      } else {
        const part = piece.subarray(at, at + Math.min(bodyLeft, piece.length - at))
        at += part.length
        bodyLeft -= part.length
        if (kind === 'data') handler.data(part)
        else body.push(Buffer.from(part))
      }
      if (headerFill === headerBytes && bodyLeft === 0) finish()
    }
  }
}
