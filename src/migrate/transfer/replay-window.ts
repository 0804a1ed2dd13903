import { createDigest } from './digest.ts'
import { streamFailed } from './failure.ts'
import { headerBytes } from './frames.ts'
import type { FrameSource } from './source.ts'

/** What a cut may cost to send again, at most, and what of a stream is kept in memory. */
export const windowBytes = 64 * 2 ** 20

/** Part of the stream: a frame, or what is left of one that a link broke in. */
export interface Piece {
  /** Where in the stream its first byte stands. */
  readonly start: number
  readonly body: Buffer
  /** Header room and body together, when it is a whole frame. */
  readonly frame: Buffer | null
}

/**
 * The sender's memory: frames that the peer has not acknowledged are kept as they are, without a copy, and read again after a
 * break. The digest sees every byte once, when it first comes.
 */
export interface ReplayWindow {
  readonly key: Uint8Array
  /**
   * The next piece, or null at the end.
   * @param turn what `rewind` gave; one that is over gets nothing any more
   */
  next(turn: number): Promise<Piece | null>
  /** The peer has all before `bytes`. @throws STREAM_FAILED when it was never sent */
  acknowledge(bytes: number): void
  /** Goes back to what the peer has; the first of the pieces begins there. Ends the turn before. @throws STREAM_FAILED when that is not kept any more */
  rewind(bytes: number): number
  readonly acknowledged: number
  /** Ends the digest; only after `next` gave null. */
  end(): { bytes: number; digest: string }
}

interface Kept {
  readonly start: number
  readonly frame: Buffer
}
const endOf = ({ start, frame }: Kept): number => start + frame.length - headerBytes

export const createReplayWindow = (source: FrameSource): ReplayWindow => {
  const digest = createDigest()
  const kept: Kept[] = []
  let cursor = 0
  let skip = 0
  let turn = 0
  let total = 0
  let acknowledged = 0
  /** All before it was given out at least once. */
  let handed = 0
  let ended = false
  let text: string | null = null
  let reading: Promise<void> | null = null

  // One read for whoever waits: what comes while a link breaks is not lost.
  const read = () => {
    reading ??= source
      .next()
      .then((frame) => {
        if (frame === null) {
          ended = true
          return
        }
        digest.update(frame.subarray(headerBytes))
        kept.push({ start: total, frame })
        total += frame.length - headerBytes
      })
      .finally(() => {
        reading = null
      })
    return reading
  }
  const acknowledge = (bytes: number) => {
    if (bytes > handed) throw streamFailed(`the peer acknowledged ${bytes} bytes, ${handed} were sent`)
    acknowledged = Math.max(acknowledged, bytes)
    for (let first = kept[0]; first !== undefined && endOf(first) <= acknowledged; first = kept[0]) {
      kept.shift()
      if (cursor > 0) cursor -= 1
      else skip = 0
      source.release(first.frame)
    }
  }
  return {
    key: digest.key,
    async next(mine) {
      for (;;) {
        if (mine !== turn) throw streamFailed('this link has been given up')
        const here = kept[cursor]
        if (here !== undefined) {
          cursor += 1
          const from = headerBytes + skip
          const piece = {
            start: here.start + skip,
            body: here.frame.subarray(from),
            frame: skip === 0 ? here.frame : null,
          }
          skip = 0
          handed = Math.max(handed, endOf(here))
          return piece
        }
        if (ended) return null
        await read()
      }
    },
    acknowledge,
    rewind(bytes) {
      if (bytes < acknowledged)
        throw streamFailed(`the peer asks for byte ${bytes}, all before ${acknowledged} is gone`)
      acknowledge(bytes)
      turn += 1
      // What the peer has whole is gone by now: it stands in the first frame, or right behind the last.
      cursor = 0
      skip = bytes - (kept[0]?.start ?? bytes)
      return turn
    },
    get acknowledged() {
      return acknowledged
    },
    end() {
      text ??= digest.end()
      return { bytes: total, digest: text }
    },
  }
}
