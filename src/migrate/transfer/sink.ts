import type { Writable } from 'node:stream'

/** A command's input, written in large blocks. */
export interface BlockSink {
  /** Copies the piece. True: hold the link until `drained` is called. */
  push(piece: Buffer): boolean
  /** Writes what is there of a block. */
  flush(): void
  /** Writes what is left and closes the command's input. */
  end(): Promise<void>
}

/** Deep enough that the link goes on while the command waits for its disk. */
const blocks = 16

/**
 * @param onBlock sees each block once, in order, before it is written
 * @param onDrained a block is free again after `push` answered true
 */
export const createSink = (
  input: Writable,
  blockBytes: number,
  onBlock: (block: Buffer) => void,
  onDrained: () => void,
): BlockSink => {
  const free: Buffer[] = Array.from({ length: blocks }, () => Buffer.allocUnsafeSlow(blockBytes))
  let current: Buffer = free.pop() ?? Buffer.allocUnsafeSlow(blockBytes)
  let fill = 0
  let held = false

  const flush = () => {
    if (fill === 0) return
    const block = current
    const part = block.subarray(0, fill)
    onBlock(part)
    input.write(part, () => {
      free.push(block)
      if (held && free.length >= blocks / 2) {
        held = false
        onDrained()
      }
    })
    // A few pieces may still come after the link was told to hold: they get a block beyond the count.
    current = free.pop() ?? Buffer.allocUnsafeSlow(blockBytes)
    fill = 0
    if (free.length === 0) held = true
  }
  return {
    flush,
    push(piece) {
      let at = 0
      while (at < piece.length) {
        const n = piece.copy(current, fill, at)
        at += n
        fill += n
        if (fill === blockBytes) flush()
      }
      return held
    },
    end() {
      flush()
      return new Promise((resolve) => {
        input.end(resolve)
      })
    },
  }
}
