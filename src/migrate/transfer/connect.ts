import { connect, type Socket } from 'node:net'
import { isErrno } from '../../lib/files.ts'
import { linkLost, refusedAt, streamFailed } from './failure.ts'
import { formatPreamble, type Preamble } from './preamble.ts'

export interface DialTimes {
  readonly connectMs: number
  readonly answerMs: number
}
export const firstDial: DialTimes = { connectMs: 10_000, answerMs: 30_000 }
/** Short, for a packet that was lost in the cut is asked for again ever more seldom. */
export const laterDial: DialTimes = { connectMs: 2_000, answerMs: 10_000 }

export const parseAddress = (address: string): { host: string; port: number } => {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const port = Number(address.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw streamFailed(`${JSON.stringify(address)} is no data address; it must be ADDR:PORT`)
  }
  return { host, port }
}

/** Connects to a data port and says which session it is about. @throws STREAM_FAILED, lost or refused */
export const dial = (address: string, preamble: Preamble, { connectMs } = firstDial): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ ...parseAddress(address), noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 })
    const give = (why: string, as: typeof linkLost) => {
      socket.destroy()
      reject(as(`data port ${address} cannot be reached: ${why}`))
    }
    const timer = setTimeout(() => give(`no answer for ${connectMs / 1000} s`, linkLost), connectMs)
    const onError = (error: Error) => {
      clearTimeout(timer)
      give(error.message, isErrno(error, 'ECONNREFUSED') ? refusedAt : linkLost)
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', onError)
      socket.write(formatPreamble(preamble))
      resolve(socket)
    })
  })

/** Waits for the receiver's `GO`. What came behind it stays in the socket for the next reader. @throws STREAM_FAILED; lost unless it said no */
export const awaitGo = (socket: Socket, address: string, { answerMs } = firstDial): Promise<void> =>
  new Promise((resolve, reject) => {
    let text = ''
    const settle = (error: Error | null) => {
      clearTimeout(timer)
      socket.off('readable', onReadable).off('error', onError).off('end', onEnd).off('close', onEnd)
      if (error === null) return resolve()
      socket.on('error', () => {}).destroy()
      reject(error)
    }
    const problem = (why: string) => `data port ${address} did not take the stream: ${why}`
    const onReadable = () => {
      for (let byte: Buffer | null = socket.read(1); byte !== null; byte = socket.read(1)) {
        text += byte.toString('latin1')
        if (text === 'GO\n') return settle(null)
        if (text.endsWith('\n') || text.length > 200)
          return settle(streamFailed(problem(text.replace(/^NO /, '').trim())))
      }
    }
    const onError = (error: Error) => settle(linkLost(problem(error.message)))
    const onEnd = () => settle(linkLost(problem('it closed the connection')))
    const timer = setTimeout(() => settle(linkLost(problem(`no answer for ${answerMs / 1000} s`))), answerMs)
    socket.on('readable', onReadable).on('error', onError).on('end', onEnd).on('close', onEnd)
    onReadable()
  })
