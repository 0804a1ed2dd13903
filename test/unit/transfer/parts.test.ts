import { type CipherGCMTypes, createCipheriv, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { parseAddress } from '../../../src/migrate/transfer/connect.ts'
import { createDigest, digestKeyBytes } from '../../../src/migrate/transfer/digest.ts'
import {
  controlFrame,
  createFrameParser,
  endFrame,
  headerBytes,
  parseEnd,
  writeHeader,
} from '../../../src/migrate/transfer/frames.ts'
import { formatPreamble, parsePreamble, sameTicket } from '../../../src/migrate/transfer/preamble.ts'
import { createTokenBucket } from '../../../src/migrate/transfer/token-bucket.ts'

describe('preamble', () => {
  test('is read back as it was written', () => {
    const secure = { sessionId: '01abc', channel: 'data', ticket: null } as const
    const plain = { sessionId: '01abc', channel: 'status', ticket: 't'.repeat(32) } as const
    for (const preamble of [secure, plain]) {
      expect(parsePreamble(formatPreamble(preamble).slice(0, -1))).toEqual(preamble)
    }
  })
  test.each([
    '',
    'GET / HTTP/1.1',
    'DROVER/2 s',
    'DROVER/1',
    'DROVER/1 ../x',
    'DROVER/1 s data',
    'DROVER/1 s other t',
    'DROVER/1 s data t more',
  ])('%j is none', (line) => expect(parsePreamble(line)).toBeNull())
  test('tickets of any length are compared', () => {
    expect(sameTicket('abc', 'abc')).toBe(true)
    expect(sameTicket('abc', 'abcd')).toBe(false)
  })
})

describe('address', () => {
  test('IPv4, name and IPv6', () => {
    expect(parseAddress('10.0.0.1:7461')).toEqual({ host: '10.0.0.1', port: 7461 })
    expect(parseAddress('[fd00::1]:7461')).toEqual({ host: 'fd00::1', port: 7461 })
  })
  test.each(['', 'host', 'host:0', 'host:x', ':1'])('%j is none', (text) =>
    expect(() => parseAddress(text)).toThrow(/ADDR:PORT/),
  )
})

describe('digest', () => {
  // What RFC 8439 (2.8) and NIST SP 800-38D make of it: the ciphers themselves, given all at once.
  const atOnce = (cipher: CipherGCMTypes | 'chacha20-poly1305', key: Uint8Array, bytes: Uint8Array): string => {
    const whole = createCipheriv(cipher as CipherGCMTypes, key, Buffer.alloc(12), { authTagLength: 16 }).setAAD(bytes)
    whole.final()
    return whole.getAuthTag().toString('hex')
  }
  test.each([
    ['gmac', 'aes-128-gcm', 16],
    ['poly1305', 'chacha20-poly1305', 32],
  ] as const)(
    '%s does not depend on how the bytes are cut, but on each of them and on the key',
    (name, cipher, size) => {
      const [bytes, key] = [randomBytes(100_000), randomBytes(size)]
      const parts = createDigest(key)
      for (let at = 0; at < bytes.length; at += 777) parts.update(bytes.subarray(at, at + 777))
      const text = parts.end()
      expect(text).toBe(`${name}:${key.toString('hex')}:${atOnce(cipher, key, bytes)}`)
      bytes.writeUInt8(bytes.readUInt8(99_999) ^ 1, 99_999)
      const other = createDigest(key)
      other.update(bytes)
      expect(other.end()).not.toBe(text)
    },
  )
  test('draws a key of its own', () => {
    expect(createDigest().end()).not.toBe(createDigest().end())
    expect(digestKeyBytes).toContain(createDigest().key.length)
    expect(() => createDigest(Buffer.alloc(17))).toThrow('too short or too long')
  })
})

describe('frames', () => {
  const data = (body: string) => {
    const frame = Buffer.alloc(headerBytes + body.length)
    writeHeader(frame, 'data', body.length)
    frame.write(body, headerBytes)
    return frame
  }
  const parseAll = (bytes: Buffer, step: number) => {
    const seen: string[] = []
    let text = ''
    const parse = createFrameParser({
      data: (piece) => {
        text += piece.toString()
      },
      control: (kind, body) =>
        seen.push(`${kind}:${kind === 'end' ? JSON.stringify(parseEnd(body)) : body.toString()}`),
    })
    for (let at = 0; at < bytes.length; at += step) parse(bytes.subarray(at, at + step))
    return { text, seen }
  }
  test('come out the same in pieces of any size', () => {
    const wire = Buffer.concat([
      controlFrame('hello', Buffer.from('key')),
      data('one'),
      controlFrame('alive'),
      data('two'),
      endFrame(2 ** 40, 'gmac:x'),
    ])
    for (const step of [1, 2, 7, 8, 9, 1000]) {
      expect(parseAll(wire, step)).toEqual({
        text: 'onetwo',
        seen: ['hello:key', 'alive:', `end:${JSON.stringify({ bytes: 2 ** 40, digest: 'gmac:x' })}`],
      })
    }
  })
  test('what is no frame, or too long a one, is refused', () => {
    expect(() => parseAll(Buffer.from('GET / HTTP/1.1\r\n'), 16)).toThrow()
    const long = Buffer.alloc(headerBytes)
    writeHeader(long, 'failure', 2 ** 31)
    expect(() => parseAll(long, 8)).toThrow(/too long/)
  })
})

test('the token bucket holds the rate over time', async () => {
  let now = 0
  const clock = {
    now: () => now,
    monotonic: () => now,
    sleep: async (ms: number) => {
      now += ms
    },
  }
  const bucket = createTokenBucket(1_000_000, clock)
  for (let taken = 0; taken < 5_000_000; taken += bucket.pieceBytes) await bucket.take(bucket.pieceBytes)
  expect(now).toBeGreaterThanOrEqual(4_800)
  expect(now).toBeLessThanOrEqual(5_000)
})
