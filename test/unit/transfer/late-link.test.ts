import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { streamFailed } from '../../../src/migrate/transfer/failure.ts'
import { createFrameParser } from '../../../src/migrate/transfer/frames.ts'
import { sendSecurely } from '../../../src/migrate/transfer/send.ts'

/** A link that keeps what it is told. */
const listeningLink = () => {
  const heard: string[] = []
  const parse = createFrameParser({
    data: () => heard.push('data'),
    control: (kind, body) => heard.push(kind === 'failure' ? `failure: ${body}` : kind),
  })
  const link: Duplex = new Duplex({
    read: () => {},
    write: (piece: Buffer, _, callback) => {
      parse(piece)
      callback()
    },
    final: (callback) => {
      link.push(null)
      callback()
    },
  })
  return { link: link as TLSSocket, heard }
}

test('a sender that is called off while it dials tells so over the link that comes of it', async () => {
  const { link, heard } = listeningLink()
  const off = Promise.withResolvers<never>()
  const dialled = Promise.withResolvers<void>()
  const up = Promise.withResolvers<TLSSocket>()
  const argv = ['cat', '/dev/zero'] as const
  const spec = { sessionId: 's', argv, peerHostId: 'b', address: '127.0.0.1:1' }
  const sent = sendSecurely(
    { ...spec, plain: false, bwlimitBytes: null },
    {
      identity: { caPem: '', certPem: '', keyPem: '' },
      ...{ clock: systemClock, aborted: off.promise, progress: () => {} },
    },
    () => {
      dialled.resolve()
      return up.promise
    },
  )
  await dialled.promise
  off.reject(streamFailed('session s was called off'))
  up.resolve(link)
  await expect(sent).rejects.toThrow('session s was called off')
  expect(heard).toEqual(['hello', 'failure: session s was called off'])
})
