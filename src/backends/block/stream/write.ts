import type { FileHandle } from 'node:fs/promises'
import { longestExtent } from './format.ts'

const zeroBytes = Buffer.alloc(longestExtent)

/** Written, not punched: a device of any provider takes it. What is sparse stays so in a full stream, which has none of these. */
export const writeZeros = async (file: FileHandle, offset: number, length: number): Promise<void> => {
  for (let done = 0; done < length; done += zeroBytes.length) {
    await writeWhole(file, zeroBytes.subarray(0, Math.min(zeroBytes.length, length - done)), offset + done)
  }
}

export const writeWhole = async (file: FileHandle, bytes: Buffer, offset: number): Promise<void> => {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
  }
}
