import type { TLSSocket } from 'node:tls'

/** Whole TLS records, of which none is over 16 KiB. */
const bufferBytes = 64 * 1024

interface Handle {
  useUserBuffer(buffer: Uint8Array): void
}
const isHandle = (value: unknown): value is Handle =>
  typeof value === 'object' && value !== null && 'useUserBuffer' in value && typeof value.useUserBuffer === 'function'

/**
 * What comes over a connection, piece by piece, each good until `onPiece` returns: one buffer takes them all. A buffer, an event and a
 * collection for every record of 16 KiB is more than half of what receiving over TLS costs. Node has `onread` for that, which it grants to
 * connections that it opens itself and not to TLS over a socket it is given; so we set what `onread` sets. A Node that has
 * it elsewhere gives `data` events.
 */
export const readInto = (link: TLSSocket, onPiece: (piece: Buffer) => void): void => {
  const symbols = Object.getOwnPropertySymbols(link)
  const slot = (name: string) => symbols.find(({ description }) => description === name)
  const buffer = slot('kBuffer')
  const callback = slot('kBufferCb')
  const handle: unknown = Reflect.get(link, '_handle')
  if (buffer === undefined || callback === undefined || !isHandle(handle)) {
    link.on('data', onPiece)
    return
  }
  const own = Buffer.allocUnsafeSlow(bufferBytes)
  Reflect.set(link, buffer, own)
  Reflect.set(link, callback, (count: number) => {
    onPiece(own.subarray(0, count))
  })
  handle.useUserBuffer(own)
  // What came before stands in the stream, and goes first; not within this call, whose caller has not got its result yet.
  queueMicrotask(() => {
    for (let early: unknown = link.read(); Buffer.isBuffer(early); early = link.read()) onPiece(early)
    if (!link.isPaused()) link.resume()
  })
}
