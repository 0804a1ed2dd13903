import { randomBytes } from 'node:crypto'

const blockBytes = 2 ** 20
const block = randomBytes(2 * blockBytes)
let sequence = 0

/** Bytes that do not compress, never the same twice: random ones cost as much in emulation as to send them. */
export const bytesOnce = (count: number): Buffer => {
  if (count > blockBytes) throw new Error(`at most ${blockBytes} bytes at a time`)
  sequence += 1
  const bytes = Buffer.from(block.subarray((sequence * 4093) % blockBytes).subarray(0, count))
  for (let at = 0; at + 8 <= count; at += 4096) bytes.writeDoubleLE(sequence + at / 2 ** 32, at)
  return bytes
}
