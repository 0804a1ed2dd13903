import type { FileHandle } from 'node:fs/promises'
import type { ProgressNotes } from './progress.ts'
import { writeWhole, writeZeros } from './write.ts'

/** Takes the extents of a stream, in order. */
export interface Sink {
  zeros(offset: number, length: number): Promise<void>
  /** The bytes are good until it resolves. */
  data(offset: number, bytes: Buffer): Promise<void>
  /** Every extent before `at` has been taken, the last one with so many bytes. */
  reached(at: number, bytes: number): Promise<void>
}

/** A device, or a file. */
export const fileSink = (file: FileHandle, notes: ProgressNotes | null): Sink => ({
  zeros: (offset, length) => writeZeros(file, offset, length),
  data: (offset, bytes) => writeWhole(file, bytes, offset),
  reached: async (at, bytes) => notes?.reached(at, bytes),
})
