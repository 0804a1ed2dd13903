import type { Writable } from 'node:stream'
import { createDigest } from './digest.ts'
import { createSink } from './sink.ts'

const blockBytes = 512 * 1024

/** A stream on its way into a command, whatever link its bytes come over. */
export interface ArrivingStream {
  /** The session's. */
  readonly key: Buffer
  /** Bytes of the stream that are here, in the command or on the way to it. */
  readonly taken: number
  readonly claimed: boolean
  /** True: hold the link until `drained`. */
  push(piece: Buffer): boolean
  readonly isHeld: boolean
  /** The sender says that this was all. @throws Error when it is not what came; nothing when it said so before */
  end(claimed: { bytes: number; digest: string }): void
  /** Hands the rest to the command and closes its input. */
  finish(): Promise<void>
}

export const createArrivingStream = (
  input: Writable,
  key: Buffer,
  on: {
    readonly progress: (bytes: number) => void
    readonly drained: () => void
    readonly ended: (claimed: { bytes: number; digest: string }) => void
  },
): ArrivingStream => {
  const digest = createDigest(key)
  let taken = 0
  let handedOn = 0
  let held = false
  let text: string | null = null
  // A command that ends early is told by its exit status, which says more than EPIPE.
  input.on('error', () => {})
  const sink = createSink(
    input,
    blockBytes,
    (block) => {
      digest.update(block)
      handedOn += block.length
      on.progress(handedOn)
    },
    () => {
      held = false
      on.drained()
    },
  )
  return {
    key: Buffer.from(key),
    get taken() {
      return taken
    },
    get claimed() {
      return text !== null
    },
    get isHeld() {
      return held
    },
    push(piece) {
      if (text !== null) throw new Error('data came behind the end')
      taken += piece.length
      held = sink.push(piece)
      return held
    },
    end(claimed) {
      if (text === null) sink.flush()
      text ??= digest.end()
      if (claimed.bytes !== taken) throw new Error(`${taken} bytes came of ${claimed.bytes}`)
      if (claimed.digest !== text) throw new Error(`the digest of ${taken} bytes is not the sender's`)
      on.ended(claimed)
    },
    finish: sink.end,
  }
}
