import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { Connection } from '../../demo/wire.ts'

test('a connection that ended while nothing was asked refuses the next query', async () => {
  const over = Promise.withResolvers<void>()
  const readyForQuery = Buffer.from([0x5a, 0, 0, 0, 5, 0x49])
  const server = createServer((socket) => {
    socket.once('data', () => socket.end(readyForQuery))
    socket.once('close', () => over.resolve())
  }).listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  const connection = await Connection.open('127.0.0.1', (server.address() as AddressInfo).port)
  await over.promise
  await expect(connection.query('SELECT 1')).rejects.toThrow()
})
