import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type OnReadOpts, type Socket } from 'node:net'

/** Two ends of one local stream: one for a command, one that reads into buffers of ours. */
export interface LocalPipe {
  /** For spawn's stdio; destroyed here right after. */
  readonly commandEnd: Socket
  readonly ourEnd: Socket
}

const nonceBytes = 16

/**
 * Instead of spawn's own 'pipe', which reads into buffers of 64 KiB that it allocates anew each time: twice the CPU.
 * The name is abstract, so that a full disk does not matter; a nonce tells our connection from any other process's.
 */
export const openLocalPipe = async (onread: OnReadOpts): Promise<LocalPipe> => {
  const path = `\0drover-transfer-${randomBytes(16).toString('hex')}`
  const nonce = randomBytes(nonceBytes)
  const server = createServer()
  const accepted = new Promise<Socket>((resolve) => {
    server.on('connection', (socket) => {
      socket.on('error', () => {})
      socket.once('data', (chunk: Buffer) => {
        socket.pause()
        if (chunk.equals(nonce)) resolve(socket)
        else socket.destroy()
      })
    })
  })
  server.listen(path)
  await once(server, 'listening')
  const ourEnd = connect({ path, onread })
  await once(ourEnd, 'connect')
  ourEnd.write(nonce)
  const commandEnd = await accepted
  server.close()
  return { commandEnd, ourEnd }
}
