/**
 * Inside TLS, from sender to receiver. A frame is a header of 8 bytes (kind, three zero bytes, length as a big-endian 32-bit number)
 * and its body. `hello`: the digest's key. `data`: bytes of the stream. `end`: byte count (64 bits) and digest as text.
 * `failure`: a sentence. `alive`: nothing, so that a silent link is told from a slow command.
 */
export const headerBytes = 8
export const frameKinds = { hello: 1, data: 2, end: 3, failure: 4, alive: 5 } as const
export type FrameKind = keyof typeof frameKinds

/** A control frame's body is held in memory whole; data goes by in pieces. */
const maxControlBytes = 16_384
const maxDataBytes = 64 * 2 ** 20

export const writeHeader = (buffer: Buffer, kind: FrameKind, bodyBytes: number): void => {
  buffer.writeUInt32BE(frameKinds[kind] << 24, 0)
  buffer.writeUInt32BE(bodyBytes, 4)
}

export const controlFrame = (kind: FrameKind, body: Uint8Array = new Uint8Array(0)): Buffer => {
  const frame = Buffer.alloc(headerBytes + body.length)
  writeHeader(frame, kind, body.length)
  frame.set(body, headerBytes)
  return frame
}

export const endFrame = (bytes: number, digest: string): Buffer => {
  const body = Buffer.alloc(8 + digest.length)
  body.writeBigUInt64BE(BigInt(bytes), 0)
  body.write(digest, 8, 'latin1')
  return controlFrame('end', body)
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
    if (bodyLeft > (known === 'data' ? maxDataBytes : maxControlBytes))
      throw new Error('the peer sent too long a frame')
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
