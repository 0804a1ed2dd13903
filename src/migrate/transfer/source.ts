import type { Readable } from 'node:stream'
import { headerBytes } from './frames.ts'

/** A command's output in frames of full size, read ahead by a few while the link is busy. Memory is the frames, no more. */
export interface FrameSource {
  /**
   * The next frame with room for its header in front; null at the end. It is the caller's until `release`.
   * @throws what broke the stream
   */
  next(): Promise<Buffer | null>
  release(frame: Buffer): void
}

const framesAhead = 4

/**
 * @param bodyBytes size of a full frame without its header
 * @param reserved bytes left free in front
 */
export const createSource = (output: Readable, bodyBytes: number, reserved = headerBytes): FrameSource => {
  const size = reserved + bodyBytes
  const free: Buffer[] = Array.from({ length: framesAhead }, () => Buffer.allocUnsafeSlow(size))
  const full: Buffer[] = []
  let current = free.pop()
  let fill = reserved
  // More than one only when the command has ended: Node then lets what its pipe still held come, paused or not.
  const pending: Buffer[] = []
  let over = false
  let ended = false
  let failure: Error | null = null
  let wake: (() => void) | null = null

  const ready = () => {
    wake?.()
    wake = null
  }
  /** Copies what fits; what is left waits for a free frame, and the command waits with it. */
  const take = (chunk: Buffer) => {
    let at = 0
    while (at < chunk.length) {
      current ??= free.pop()
      if (current === undefined) {
        pending.push(chunk.subarray(at))
        output.pause()
        return
      }
      const n = chunk.copy(current, fill, at)
      at += n
      fill += n
      if (fill === size) push(current)
    }
  }
  const push = (frame: Buffer) => {
    full.push(frame.subarray(0, fill))
    current = undefined
    fill = reserved
    ready()
  }
  const finishIfDone = () => {
    if (!over || pending.length > 0) return
    if (current !== undefined && fill > reserved) push(current)
    ended = true
    ready()
  }
  output.on('data', (chunk: Buffer) => {
    if (pending.length > 0) pending.push(chunk)
    else take(chunk)
  })
  output.on('end', () => {
    over = true
    finishIfDone()
  })
  output.on('error', (error) => {
    failure = error
    ready()
  })
  return {
    async next() {
      for (;;) {
        const frame = full.shift()
        if (frame !== undefined) return frame
        if (failure !== null) throw failure
        if (ended) return null
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    release(frame) {
      free.push(Buffer.from(frame.buffer, 0, size))
      const waiting = pending.splice(0)
      for (const chunk of waiting) {
        if (pending.length > 0) pending.push(chunk)
        else take(chunk)
      }
      if (pending.length > 0) return
      output.resume()
      finishIfDone()
    },
  }
}
