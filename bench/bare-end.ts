import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { startStreamCommand } from '../src/migrate/transfer/command.ts'
import { secureAsReceiver, secureAsSender } from '../src/migrate/transfer/secure.ts'
import { createSink } from '../src/migrate/transfer/sink.ts'
import { startSource } from '../src/migrate/transfer/source.ts'
import type { TlsIdentity } from '../src/migrate/transfer.ts'

/*
 * One end of a TLS pipe, in a process of its own: Drover's way to read a command, to write one and to encrypt, without its frames, digest,
 * acknowledgements and window. What the session costs is measured against it.
 */

export type BareOrder =
  | { readonly kind: 'send'; readonly argv: Argv; readonly identity: TlsIdentity; readonly peerHostId: string }
  | {
      readonly kind: 'receive'
      readonly argv: Argv
      readonly identity: TlsIdentity
      readonly peerHostId: string
      readonly port: number
    }
export type BareReport = { readonly kind: 'listening'; readonly port: number } | { readonly kind: 'done' }
type Argv = readonly [string, ...string[]]

const blockBytes = 256 * 1024

const report = (message: BareReport) => process.send?.(message)

const send = async ({ argv, identity, peerHostId }: Extract<BareOrder, { kind: 'send' }>): Promise<void> => {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const connection = once(server, 'connection')
  report({ kind: 'listening', port: (server.address() as AddressInfo).port })
  const source = await startSource(argv, blockBytes, 0)
  const [socket] = (await connection) as [Socket]
  server.close()
  const link = await secureAsSender(socket, identity, peerHostId)
  for (let frame = await source.next(); frame !== null; frame = await source.next()) {
    const whole = frame
    await new Promise<void>((resolve, reject) => link.write(whole, (error) => (error ? reject(error) : resolve())))
    source.release(frame)
  }
  await source.command.ended
  link.resume().end()
  await once(link, 'close')
}

const receive = async (order: Extract<BareOrder, { kind: 'receive' }>): Promise<void> => {
  const socket = connect({ port: order.port, host: '127.0.0.1', noDelay: true })
  const link = await secureAsReceiver(socket, order.identity, order.peerHostId)
  const command = startStreamCommand(order.argv, 'pipe', 'ignore')
  if (command.child.stdin === null) throw new Error('the command has no input')
  const sink = createSink(
    command.child.stdin,
    blockBytes,
    () => {},
    () => link.resume(),
  )
  link.on('data', (piece: Buffer) => sink.push(piece) && link.pause())
  await once(link, 'end')
  await sink.end()
  await command.ended
  link.end()
}

process.on('message', async (order: BareOrder) => {
  await (order.kind === 'send' ? send(order) : receive(order))
  report({ kind: 'done' })
})
process.on('disconnect', () => process.exit(1))
