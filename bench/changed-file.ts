import { randomBytes } from 'node:crypto'
import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { bytesOnce } from './random-bytes.ts'

const mib = 2 ** 20

/** A new file of that many bytes, on disk when it returns. */
export const fillFile = (path: string, bytes: number): void => {
  const file = openSync(path, 'w')
  for (let at = 0; at < bytes; at += mib) writeSync(file, bytesOnce(Math.min(mib, bytes - at)), 0, null, at)
  fsyncSync(file)
  closeSync(file)
}

/** Other bytes in `pieces` places far from each other, so many in each, on disk when it returns. */
export const changeFile = (path: string, fileBytes: number, pieces: number, pieceBytes: number): void => {
  const file = openSync(path, 'r+')
  for (let index = 0; index < pieces; index += 1) {
    const at = Math.floor((index * fileBytes) / pieces / 131_072) * 131_072
    // Nothing of one is in another, as a stream that packs would find.
    writeSync(file, randomBytes(pieceBytes), 0, pieceBytes, at)
  }
  fsyncSync(file)
  closeSync(file)
}
