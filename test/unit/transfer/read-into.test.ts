import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { expect, test } from 'vitest'
import { readInto } from '../../../src/migrate/transfer/read-into.ts'
import { secureAsReceiver, secureAsSender } from '../../../src/migrate/transfer/secure.ts'
import { createAuthority } from './hosts.ts'

const openLink = async (): Promise<{ sender: TLSSocket; receiver: TLSSocket }> => {
  const authority = await createAuthority('c')
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const near = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const [far] = (await once(server, 'connection')) as [Socket]
  server.close()
  const [receiver, sender] = await Promise.all([
    secureAsReceiver(far, await authority.issue('b'), 'a'),
    secureAsSender(near, await authority.issue('a'), 'b'),
  ])
  return { sender, receiver }
}

const ended = async ({ sender, receiver }: { sender: TLSSocket; receiver: TLSSocket }): Promise<void> => {
  const end = once(receiver, 'end')
  sender.end()
  await end
  receiver.destroy()
  sender.destroy()
}

test('what comes over TLS goes through one buffer, in order and whole', async () => {
  const link = await openLink()
  const came: Buffer[] = []
  const buffers = new Set<ArrayBufferLike>()
  readInto(link.receiver, (piece) => {
    came.push(Buffer.from(piece))
    buffers.add(piece.buffer)
  })
  const sent = randomBytes(3 * 2 ** 20 + 17)
  link.sender.write(sent)
  await ended(link)
  expect(Buffer.concat(came).equals(sent)).toBe(true)
  expect(buffers.size).toBe(1)
})

test('what came before goes first', async () => {
  const link = await openLink()
  const sent = randomBytes(2 ** 20)
  link.sender.write(sent.subarray(0, 1000))
  while (link.receiver.readableLength < 1000) await new Promise((resolve) => setImmediate(resolve))
  const came: Buffer[] = []
  readInto(link.receiver, (piece) => came.push(Buffer.from(piece)))
  expect(came).toEqual([])
  link.sender.write(sent.subarray(1000))
  await ended(link)
  expect(Buffer.concat(came).equals(sent)).toBe(true)
})

test('paused, it holds the peer back, and goes on where it was', async () => {
  const link = await openLink()
  const sent = randomBytes(16 * 2 ** 20)
  const came: Buffer[] = []
  let bytes = 0
  let held = 0
  readInto(link.receiver, (piece) => {
    came.push(Buffer.from(piece))
    bytes += piece.length
    if (held > 0 || bytes < 2 ** 20) return
    held = bytes
    link.receiver.pause()
  })
  let written = false
  link.sender.write(sent, () => {
    written = true
  })
  while (held === 0) await new Promise((resolve) => setImmediate(resolve))
  for (let turn = 0; turn < 200; turn += 1) await new Promise((resolve) => setImmediate(resolve))
  // The rest of what had been read from the socket, no more.
  expect(bytes - held).toBeLessThan(2 ** 18)
  expect(written).toBe(false)
  link.receiver.resume()
  await ended(link)
  expect(Buffer.concat(came).equals(sent)).toBe(true)
})

test('of a stream that has no such buffer come its pieces as they are', async () => {
  const stream = new PassThrough()
  const came: Buffer[] = []
  readInto(stream as unknown as TLSSocket, (piece) => came.push(piece))
  stream.end('hello')
  await once(stream, 'end')
  expect(came.map(String)).toEqual(['hello'])
})
