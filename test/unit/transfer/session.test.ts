import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Argv } from '../../../src/backends/backend.ts'
import type { DroverError } from '../../../src/domain/errors.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { createArrivals } from '../../../src/migrate/transfer/arrivals.ts'
import { receiveSecurely } from '../../../src/migrate/transfer/receive.ts'
import { readPreamble } from '../../../src/migrate/transfer/routing.ts'
import { sendSecurely } from '../../../src/migrate/transfer/send.ts'
import type { SendSpec, TlsIdentity, TransferResult } from '../../../src/migrate/transfer.ts'
import { type CutLink, openCutLink } from './cut-link.ts'
import { createAuthority } from './hosts.ts'

/** Both ends in this process, over a link that is cut between them. */
let directory: string
let identities: { a: TlsIdentity; b: TlsIdentity }
let server: Server
let link: CutLink
let arrivals = createArrivals()

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'drover-session-'))
  const authority = await createAuthority('c1')
  identities = { a: await authority.issue('a'), b: await authority.issue('b') }
  writeFileSync(join(directory, 'in'), randomBytes(size))
})
afterAll(() => rmSync(directory, { recursive: true }))
beforeEach(async () => {
  arrivals = createArrivals()
  const mine = arrivals
  server = createServer(async (socket) => {
    socket.on('error', () => {})
    if ((await readPreamble(socket)) === null) socket.destroy()
    else mine.add(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  link = await openCutLink(() => (server.address() as AddressInfo).port)
})
afterEach(() => {
  link.close()
  server.close()
})

const size = 12_000_000
const patience = { timeout: 20_000, interval: 5 }
const times = { aliveEveryMs: 50, silentMs: 400 }

interface Run {
  readonly source?: Argv
  readonly target?: Argv
  readonly send?: Partial<SendSpec>
  readonly patienceMs?: number
}

const begin = (run: Run = {}) => {
  const off = Promise.withResolvers<never>()
  off.promise.catch(() => {})
  const progress = { sent: 0, received: 0 }
  const common = { sessionId: 's', plain: false, patienceMs: run.patienceMs ?? 20_000 }
  const task = { clock: systemClock, times, aborted: off.promise }
  const count = (end: 'sent' | 'received') => (bytes: number) => {
    progress[end] = bytes
  }
  const received = receiveSecurely(
    { ...common, argv: run.target ?? ['dd', `of=${join(directory, 'out')}`, 'bs=64k'], peerHostId: 'a' },
    arrivals,
    { ...task, identity: identities.b, progress: count('received') },
  )
  const sent = sendSecurely(
    {
      ...{ ...common, argv: run.source ?? ['cat', join(directory, 'in')], peerHostId: 'b', address: link.address },
      ...{ bwlimitBytes: null, ...run.send },
    },
    { ...task, identity: identities.a, progress: count('sent') },
  )
  for (const end of [sent, received]) end.catch(() => {})
  return { sent, received, progress, callOff: (why: string) => off.reject(new Error(why)) }
}

const arrives = async ({ sent, received }: ReturnType<typeof begin>): Promise<TransferResult> => {
  const [there, here] = await Promise.all([sent, received])
  expect(here).toMatchObject({ bytes: size, digest: there.digest })
  expect(readFileSync(join(directory, 'out')).equals(readFileSync(join(directory, 'in')))).toBe(true)
  return there
}

describe('a link that is cut', () => {
  test.each(Array.from({ length: 24 }, (_, index) => index))('anywhere, %i', async () => {
    const cuts = Array.from({ length: randomInt(1, 4) }, () => {
      const direction = randomInt(4) > 0 ? ('forth' as const) : ('back' as const)
      // Also within the handshake, which has some 2,000 bytes, and behind the last byte of the stream.
      const most = [3_000, size, size + 20_000][randomInt(3)] ?? size
      return { direction, bytes: randomInt(1, direction === 'forth' ? most : 4_000) }
    })
    for (const { direction, bytes } of cuts) link.cutAt(direction, bytes)
    const compress = randomInt(2) === 0 ? 'zstd' : 'none'
    const run = begin({ send: { compress } })
    const result = await arrives(run).catch((error) => {
      throw new Error(`cuts ${JSON.stringify(cuts)}, ${compress}: ${error.message}`, { cause: error })
    })
    expect(result.resentBytes).toBeLessThanOrEqual(64 * 2 ** 20)
  })

  test('for a while: it is noticed although nobody says so, and the commands go on', async () => {
    const run = begin({ send: { bwlimitBytes: 8_000_000 } })
    await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(2_000_000), patience)
    link.silence(true)
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    link.silence(false)
    const { reconnects } = await arrives(run)
    expect(reconnects).toBeGreaterThan(0)
  })

  test('while nobody can be reached at all', async () => {
    const run = begin({ send: { bwlimitBytes: 8_000_000 } })
    await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(1_000_000), patience)
    link.refuse(true)
    link.cut()
    await new Promise((resolve) => setTimeout(resolve, 500))
    link.refuse(false)
    expect(await arrives(run)).toMatchObject({ reconnects: 1 })
  })

  test('for good: both ends give up when their patience is over, and say why', async () => {
    const run = begin({ send: { bwlimitBytes: 8_000_000, patienceMs: 300 }, patienceMs: -4_000 })
    await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(1_000_000), patience)
    link.refuse(true)
    link.cut()
    await expect(run.sent).rejects.toMatchObject({
      code: 'STREAM_FAILED',
      details: { lost: true },
      message: expect.stringMatching(/link to host b .*; no other link within \d+ s: /),
    })
    await expect(run.received).rejects.toMatchObject({ code: 'STREAM_FAILED', details: { lost: true } })
  })

  test('again and again: what is sent again is what was on the way, no more', async () => {
    const run = begin({ send: { bwlimitBytes: 8_000_000 } })
    for (let cuts = 1; cuts <= 6; cuts += 1) {
      await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(cuts * 1_500_000), patience)
      link.cut()
    }
    const { reconnects, resentBytes, wireBytes } = await arrives(run)
    // A machine that stands still for ten seconds loses a link of its own.
    expect(reconnects).toBeGreaterThanOrEqual(6)
    expect(resentBytes).toBeLessThan(size)
    expect(wireBytes).toBeGreaterThan(size + resentBytes)
    // The limit is one of the wire, whatever link it is.
    expect(link.carried()).toBeGreaterThan(size)
  })
})

test('called off without a link, both ends end at once', async () => {
  const run = begin({ send: { bwlimitBytes: 2_000_000 } })
  await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(500_000), patience)
  link.refuse(true)
  link.cut()
  run.callOff('cancelled')
  await expect(run.sent).rejects.toThrow('cancelled')
  await expect(run.received).rejects.toThrow('cancelled')
})

test('a byte that changes on the way costs a link, not the stream', async () => {
  const run = begin({ send: { bwlimitBytes: 20_000_000 } })
  await vi.waitFor(() => expect(run.progress.received).toBeGreaterThan(1_000_000), patience)
  link.corruptAfter(100_000)
  expect(await arrives(run)).toMatchObject({ reconnects: 1 })
})

test('a receiver that does not read holds the sender back; its memory is the window', async () => {
  const before = process.memoryUsage().arrayBuffers
  const run = begin({ source: ['cat', '/dev/zero'], target: ['sleep', '100'] })
  await vi.waitFor(() => expect(run.progress.sent).toBeGreaterThan(1_000_000), patience)
  for (let before = 0; run.progress.sent > before; ) {
    before = run.progress.sent
    await new Promise((resolve) => setTimeout(resolve, 500))
  }
  expect(run.progress.sent).toBeLessThanOrEqual(64 * 2 ** 20)
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(80 * 2 ** 20)
  run.callOff('enough')
  await expect(run.sent).rejects.toThrow('enough')
})

test('under zstd what shrinks is sent shrunk, and a limit is one of the wire', async () => {
  const zeros = ['head', '-c', String(size), '/dev/zero'] as const
  const { sent } = begin({ source: zeros, send: { compress: 'zstd', bwlimitBytes: 1_000_000 } })
  const { bytes, wireBytes } = await sent
  expect(bytes).toBe(size)
  expect(wireBytes).toBeLessThan(size / 50)
  const noise = await begin({ send: { compress: 'zstd' } }).sent
  expect(noise.wireBytes).toBeLessThan(size * 1.001)
})

test('a sender that failed tells what went over the wire until then', async () => {
  const { sent } = begin({
    source: ['sh', '-c', `head -c ${size} /dev/zero; exit 3`],
    send: { compress: 'zstd' },
  })
  const wireBytes = await sent.catch((thrown: DroverError) => thrown.details.wireBytes)
  expect(wireBytes).toBeGreaterThan(0)
  expect(wireBytes).toBeLessThan(size / 50)
})
