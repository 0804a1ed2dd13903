import type { Argv } from '../../backends/backend.ts'
import type { StreamCommand } from './command.ts'
import { startWriter } from './command-pipe.ts'

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

/** So many wait for the link, at most: enough for command and link not to wait for each other. */
const readAhead = 16
/**
 * A command that writes little at a time is not asked for each piece: the pipe gathers them meanwhile, and neither side wakes the other for
 * each.
 */
const gatherMs = 1

/** So many are kept when nobody needs them; the others a held-up link has made go back to the system. */
const spare = 32

/**
 * Starts the command.
 * @param bodyBytes size of a full frame without its header; only the last is shorter
 * @param reserved bytes left free in front of each
 * @param heldBytes what the caller may keep unreleased; frames are made as they are needed
 */
export const startSource = (argv: Argv, bodyBytes: number, reserved: number, heldBytes = 0): FrameSource => {
  const size = reserved + bodyBytes
  const most = readAhead + Math.floor(heldBytes / size)
  const free: Buffer[] = []
  const full: Buffer[] = []
  let made = 0
  let ended = false
  let gathering = false
  let failure: Error | null = null
  let wake: (() => void) | null = null

  const take = (): Buffer => {
    const frame = free.pop()
    if (frame !== undefined) return frame
    made += 1
    return Buffer.allocUnsafeSlow(size)
  }
  let current = take()
  let fill = reserved

  const mayRead = () => full.length < readAhead - 1 && (free.length > 0 || made < most)
  const ready = () => {
    wake?.()
    wake = null
  }
  const push = () => {
    full.push(current.subarray(0, fill))
    fill = reserved
    ready()
  }
  const { command, output } = startWriter(argv, {
    buffer: () => current.subarray(fill),
    callback: (count) => {
      fill += count
      if (fill < size) {
        if (count >= size / 4) return true
        gathering = true
        setTimeout(() => {
          gathering = false
          goOn()
        }, gatherMs)
        return false
      }
      push()
      // Which buffer the next read fills is settled now, even if that is after a pause: so we pause one frame before the last is gone.
      current = take()
      return mayRead()
    },
  })
  output.on('end', () => {
    if (fill > reserved) push()
    ended = true
    ready()
  })
  output.on('error', (error) => {
    failure = error
    ready()
  })
  const goOn = () => {
    if (!ended && !gathering && mayRead()) output.resume()
  }
  return {
    command,
    async next() {
      for (;;) {
        const frame = full.shift()
        if (frame !== undefined) {
          goOn()
          return frame
        }
        if (failure !== null) throw failure
        if (ended) return null
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
    release(frame) {
      if (free.length < spare) free.push(Buffer.from(frame.buffer, 0, size))
      else made -= 1
      goOn()
    },
  }
}
