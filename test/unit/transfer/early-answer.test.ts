import { Duplex } from 'node:stream'
import type { TLSSocket } from 'node:tls'
import { expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { createDigest } from '../../../src/migrate/transfer/digest.ts'
import { createFrameParser, parseEnd } from '../../../src/migrate/transfer/frames.ts'
import { formatMessage } from '../../../src/migrate/transfer/messages.ts'
import { sendSecurely } from '../../../src/migrate/transfer/send.ts'

/** A link whose receiver answers, and closes, before the sender hears that its end frame was written. */
const quickReceiver = () => {
  const link: Duplex = new Duplex({
    read: () => {},
    write: (piece: Buffer, _, callback) => {
      let answered = false
      createFrameParser({
        data: () => {},
        control: (kind, body) => {
          if (kind !== 'end') return
          answered = true
          link.push(formatMessage({ kind: 'ok', ...parseEnd(body) }))
          link.push(null)
        },
      })(piece)
      if (answered) link.once('end', () => setImmediate(callback))
      else callback()
    },
  })
  return link as TLSSocket
}

test('an answer that overtakes the news of the last write ends the stream well', async () => {
  const link = quickReceiver()
  const identity = { caPem: '', certPem: '', keyPem: '' }
  const sent = await sendSecurely(
    {
      sessionId: 's',
      argv: ['printf', 'hello'],
      peerHostId: 'b',
      address: '127.0.0.1:1',
      plain: false,
      bwlimitBytes: null,
    },
    { identity, clock: systemClock, aborted: new Promise<never>(() => {}), progress: () => {} },
    async () => link,
  )
  const digest = createDigest(Buffer.from(sent.digest?.split(':')[1] ?? '', 'hex'))
  digest.update(Buffer.from('hello'))
  expect(sent).toMatchObject({ bytes: 5, digest: digest.end() })
})
