import { connect, type Socket } from 'node:net'
import { streamFailed } from './failure.ts'
import { formatPreamble, type Preamble } from './preamble.ts'

const connectMs = 10_000
const answerMs = 30_000

export const parseAddress = (address: string): { host: string; port: number } => {
  const colon = address.lastIndexOf(':')
  const host = address.slice(0, colon).replace(/^\[(.*)\]$/, '$1')
  const port = Number(address.slice(colon + 1))
  if (colon < 1 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw streamFailed(`${JSON.stringify(address)} is no data address; it must be ADDR:PORT`)
  }
  return { host, port }
}

/** Connects to a data port and says which session it is about. */
export const dial = (address: string, preamble: Preamble): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = connect({ ...parseAddress(address), noDelay: true, keepAlive: true, keepAliveInitialDelay: 10_000 })
    const give = (why: string) => {
      socket.destroy()
      reject(streamFailed(`data port ${address} cannot be reached: ${why}`))
    }
    const timer = setTimeout(() => give(`no answer for ${connectMs / 1000} s`), connectMs)
    const onError = (error: Error) => {
      clearTimeout(timer)
      give(error.message)
    }
    socket.once('error', onError)
    socket.once('connect', () => {
      clearTimeout(timer)
      socket.off('error', onError)
      socket.write(formatPreamble(preamble))
      resolve(socket)
    })
  })

/** Waits for the receiver's `GO`. What came behind it stays in the socket for the next reader. */
export const awaitGo = (socket: Socket, address: string): Promise<void> =>
  new Promise((resolve, reject) => {
    let text = ''
    const settle = (error: Error | null) => {
      clearTimeout(timer)
      socket.off('readable', onReadable).off('error', onError).off('end', onEnd).off('close', onEnd)
      if (error === null) return resolve()
      socket.destroy()
      reject(streamFailed(`data port ${address} did not take the stream: ${error.message}`))
    }
    const onReadable = () => {
      for (let byte: Buffer | null = socket.read(1); byte !== null; byte = socket.read(1)) {
        text += byte.toString('latin1')
        if (text === 'GO\n') return settle(null)
        if (text.endsWith('\n') || text.length > 200) return settle(new Error(text.replace(/^NO /, '').trim()))
      }
    }
    const onError = (error: Error) => settle(error)
    const onEnd = () => settle(new Error('it closed the connection'))
    const timer = setTimeout(() => settle(new Error(`no answer for ${answerMs / 1000} s`)), answerMs)
    socket.on('readable', onReadable).on('error', onError).on('end', onEnd).on('close', onEnd)
    onReadable()
  })
