import type { Argv } from '../../backends/backend.ts'
import { type StreamCommand, startCommand } from './command.ts'
import { openLocalPipe } from './local-pipe.ts'

/** A command's output in frames of full size, read ahead by a few while the link is busy. Memory is the frames, no more. */
export interface FrameSource {
  readonly command: StreamCommand
  /**
   * The next frame, with room for its header in front; null at the end. It is the caller's until `release`.
   * @throws what broke the stream
   */
  next(): Promise<Buffer | null>
  release(frame: Buffer): void
}

/** One being filled, one being sent, and between them enough for command and link not to wait for each other. */
const frames = 16

/**
 * Starts the command.
 * @param bodyBytes size of a full frame without its header; only the last is shorter
 * @param reserved bytes left free in front of each
 */
export const startSource = async (argv: Argv, bodyBytes: number, reserved: number): Promise<FrameSource> => {
  const size = reserved + bodyBytes
  const free: Buffer[] = Array.from({ length: frames - 1 }, () => Buffer.allocUnsafeSlow(size))
  const full: Buffer[] = []
  let current: Buffer = Buffer.allocUnsafeSlow(size)
  let fill = reserved
  let ended = false
  let failure: Error | null = null
  let wake: (() => void) | null = null

  const ready = () => {
    wake?.()
    wake = null
  }
  const push = () => {
    full.push(current.subarray(0, fill))
    fill = reserved
    ready()
  }
  const { ourEnd, commandEnd } = await openLocalPipe({
    buffer: () => current.subarray(fill),
    callback: (count) => {
      fill += count
      if (fill < size) return true
      push()
      // Which buffer the next read fills is settled now, even if that is after a pause: so we pause one frame before the last is gone.
      current = free.pop() ?? Buffer.allocUnsafeSlow(size)
      return free.length > 0
    },
  })
  const command = startCommand(argv, 'ignore', commandEnd)
  commandEnd.destroy()
  ourEnd.on('end', () => {
    if (fill > reserved) push()
    ended = true
    ready()
  })
  ourEnd.on('error', (error) => {
    failure = error
    ready()
  })
  return {
    command,
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
      if (!ended) ourEnd.resume()
    },
  }
}
