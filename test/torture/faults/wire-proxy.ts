import { connect, createServer, type Socket } from 'node:net'

/*
 * Stands before the data port of a host: `wire-proxy.ts LISTEN_PORT DATA_PORT`. What comes is passed on as it is, until a line
 * `flip N`, `end N` or `reset N` on stdin says what is to happen, once, to the bytes of a sender after so many more of them.
 */
const [listenPort = 0, dataPort = 0] = process.argv.slice(2).map(Number)
let order: { what: string; after: number } | null = null

const told = (): void => {
  order = null
  process.stdout.write('struck\n')
}

const pass = (sender: Socket): void => {
  const receiver = connect({ port: dataPort, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
  for (const [one, other] of [
    [sender, receiver],
    [receiver, sender],
  ] as const) {
    one.setNoDelay(true).on('error', () => other.destroy())
    one.on('close', () => other.destroySoon())
    one.on('end', () => other.end())
    one.on('drain', () => other.resume())
  }
  receiver.on('data', (bytes: Buffer) => {
    if (!sender.write(bytes)) receiver.pause()
  })
  sender.on('data', (bytes: Buffer) => {
    if (order !== null && order.after < bytes.length) {
      const { what, after } = order
      told()
      if (what === 'flip') bytes.writeUInt8(bytes.readUInt8(after) ^ 0x10, after)
      else {
        receiver.write(bytes.subarray(0, after))
        if (what === 'end') receiver.end()
        else receiver.resetAndDestroy()
        sender.destroy()
        return
      }
    } else if (order !== null) order.after -= bytes.length
    if (!receiver.write(bytes)) sender.pause()
  })
}

createServer({ allowHalfOpen: true }, pass).listen(listenPort, '0.0.0.0', () => process.stdout.write('ready\n'))
process.stdin.on('data', (line: Buffer) => {
  const [what = '', after = '0'] = line.toString().trim().split(' ')
  order = { what, after: Number(after) }
})
process.stdin.on('end', () => process.exit(0))
