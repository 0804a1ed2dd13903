import type { Socket } from 'node:net'
import { maxPreambleBytes, type Preamble, parsePreamble } from './preamble.ts'

const preambleMs = 10_000

/**
 * Reads the first line of a connection, and nothing behind it: a peer that says more before GO breaks the protocol.
 * Null: no preamble came.
 */
export const readPreamble = (socket: Socket): Promise<Preamble | null> =>
  new Promise((resolve) => {
    let text = ''
    const settle = (preamble: Preamble | null) => {
      clearTimeout(timer)
      socket.off('data', onData).off('close', onClose).off('end', onClose)
      socket.pause()
      resolve(preamble)
    }
    const onData = (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\n')
      if (end === -1 && text.length <= maxPreambleBytes) return
      settle(end === text.length - 1 ? parsePreamble(text.slice(0, -1)) : null)
    }
    const onClose = () => settle(null)
    const timer = setTimeout(() => settle(null), preambleMs)
    socket.on('data', onData).on('close', onClose).on('end', onClose)
  })

export const refuse = (socket: Socket, why: string): void => {
  socket.end(`NO ${why}\n`)
  setTimeout(() => socket.destroy(), 1_000).unref()
}
