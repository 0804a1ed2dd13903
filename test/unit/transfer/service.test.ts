import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Argv } from '../../../src/backends/backend.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import type { Transfer } from '../../../src/migrate/transfer.ts'
import { createAuthority, freePort, startHost, type TestHost } from './hosts.ts'
import { gone, parentOf, there } from './processes.ts'

let a: TestHost
let b: TestHost
let authority: Awaited<ReturnType<typeof createAuthority>>
let directory: string
let sequence = 0

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'drover-transfer-'))
  authority = await createAuthority('c1')
  a = await startHost(await authority.issue('a'))
  b = await startHost(await authority.issue('b'))
})
afterEach(async () => {
  await a.service.close()
  await b.service.close()
  rmSync(directory, { recursive: true })
})

interface Ends {
  readonly source: Argv
  readonly target: Argv
  readonly plain?: boolean
  readonly bwlimitBytes?: number
  readonly expectAtTarget?: string
  readonly expectAtSource?: string
  readonly patienceMs?: number
}

const begin = async (ends: Ends): Promise<{ sent: Transfer; received: Transfer }> => {
  sequence += 1
  const common = {
    sessionId: `session-${sequence}`,
    plain: ends.plain ?? false,
    ...(ends.patienceMs === undefined ? {} : { patienceMs: ends.patienceMs }),
    ...(ends.plain === true ? { ticket: 'k'.repeat(32) } : {}),
  }
  const received = await b.service.receive({ ...common, argv: ends.target, peerHostId: ends.expectAtTarget ?? 'a' })
  const sent = await a.service.send({
    ...common,
    argv: ends.source,
    peerHostId: ends.expectAtSource ?? 'b',
    address: b.address,
    bwlimitBytes: ends.bwlimitBytes ?? null,
  })
  return { sent, received }
}

const messages = async (transfer: { sent: Transfer; received: Transfer }): Promise<string[]> => {
  const outcomes = await Promise.allSettled([transfer.sent.done, transfer.received.done])
  return outcomes.map((outcome) =>
    outcome.status === 'fulfilled' ? 'done' : `${outcome.reason.code}: ${outcome.reason.message}`,
  )
}

for (const plain of [false, true]) {
  const mode = plain ? 'plain' : 'TLS'

  test.each([0, 1, 262_136, 262_137, 10_000_000])(`${mode}: %i bytes arrive as they were sent`, async (size) => {
    const path = join(directory, 'in')
    writeFileSync(path, randomBytes(size))
    const out = join(directory, 'out')
    const transfer = await begin({ source: ['cat', path], target: ['dd', `of=${out}`, 'bs=64k'], plain })
    const [sent, received] = await Promise.all([transfer.sent.done, transfer.received.done])
    expect(readFileSync(out).equals(readFileSync(path))).toBe(true)
    expect(sent.digest).toBe(received.digest)
    if (plain) expect(received.digest).toBeNull()
    else {
      expect([sent.bytes, received.bytes]).toEqual([size, size])
      expect(sent.digest).toMatch(/^(gmac:[0-9a-f]{32}|poly1305:[0-9a-f]{64}):[0-9a-f]{32}$/)
      expect(transfer.sent.progress().bytes).toBe(size)
    }
  })

  test(`${mode}: a source command that fails is told at both ends, with status and stderr`, async () => {
    const ends = await begin({
      source: ['sh', '-c', 'head -c 3000000 /dev/zero; echo no such subvolume >&2; exit 7'],
      target: ['cat'],
      plain,
    })
    for (const message of await messages(ends)) {
      expect(message).toMatch(/^STREAM_FAILED: .*exit status 7: no such subvolume$/)
    }
  })

  test(`${mode}: a target command that fails is told at both ends, with status and stderr`, async () => {
    const word = `300000000${sequence}`
    const ends = await begin({
      source: ['head', '-c', word, '/dev/zero'],
      target: ['sh', '-c', 'head -c 100000 >/dev/null; echo disk full >&2; exit 3'],
      plain,
    })
    const [sent, received] = await messages(ends)
    expect(received).toMatch(/^STREAM_FAILED: .*exit status 3: disk full(;|$)/)
    // On a plain link the source may notice its broken pipe first.
    expect(sent).toMatch(plain ? /^STREAM_FAILED: / : /^STREAM_FAILED: host b failed to receive: .*disk full$/)
    await gone(word)
  })

  test(`${mode}: a target command that fails at the very end is not acknowledged`, async () => {
    const ends = await begin({
      source: ['head', '-c', '100000', '/dev/zero'],
      target: ['sh', '-c', 'cat >/dev/null; echo late >&2; exit 4'],
      plain,
    })
    for (const message of await messages(ends)) expect(message).toMatch(/^STREAM_FAILED: .*exit status 4: late$/)
  })

  test(`${mode}: a program that does not exist`, async () => {
    const ends = await begin({ source: ['no-such-program'], target: ['cat'], plain })
    for (const message of await messages(ends)) expect(message).toMatch(/^STREAM_FAILED: .*no-such-program/)
  })

  test(`${mode}: abort at either end ends both, and their commands`, async () => {
    for (const end of ['sent', 'received'] as const) {
      sequence += 1
      const source = `90000000000${sequence}`
      const target = `bs=${65_536 + sequence}`
      const ends = await begin({ source: ['head', '-c', source, '/dev/zero'], target: ['dd', target], plain })
      await there(source)
      await there(target)
      ends[end].abort()
      const [sent = '', received = ''] = await messages(ends)
      const [here, elsewhere] = end === 'sent' ? [sent, received] : [received, sent]
      expect(here).toMatch(/^STREAM_FAILED: .*called off/)
      // Our last words may be lost with what was on the way: a sender that dials again hears them then.
      expect(elsewhere).toMatch(/^STREAM_FAILED: .*called off/)
      await gone(source)
      await gone(target)
    }
  })

  test(`${mode}: kill -9 of either process ends both, and their commands`, async () => {
    for (const end of ['source', 'target'] as const) {
      sequence += 1
      // Commands that neither read nor write: nothing but the kernel tells them.
      const words = { source: `1000.${sequence}1`, target: `1000.${sequence}2` }
      // Over TLS the other end cannot tell it from a cut: it waits for another link for a while.
      const commands = { source: ['sleep', words.source], target: ['sleep', words.target] } as const
      const ends = await begin({ ...commands, plain, patienceMs: 0 })
      const pids = { source: await there(words.source), target: await there(words.target) }
      process.kill(parentOf(pids[end]), 'SIGKILL')
      for (const message of await messages(ends)) expect(message).toMatch(/^STREAM_FAILED: /)
      await gone(words.source)
      await gone(words.target)
    }
  })
}

test('an unknown session is refused', async () => {
  const sent = await a.service.send({
    sessionId: 'nobody',
    argv: ['cat', '/dev/zero'],
    peerHostId: 'b',
    address: b.address,
    plain: false,
    bwlimitBytes: null,
  })
  await expect(sent.done).rejects.toThrow(/session nobody is not expected/)
})

test('whoever dials a session that was called off hears the reason', async () => {
  const spec = { sessionId: 'late', plain: false }
  const received = await b.service.receive({ ...spec, argv: ['cat'], peerHostId: 'a' })
  received.abort()
  await expect(received.done).rejects.toThrow(/called off/)
  const sent = await a.service.send({
    ...{ ...spec, argv: ['cat', '/dev/zero'], peerHostId: 'b', address: b.address, bwlimitBytes: null },
  })
  await expect(sent.done).rejects.toThrow(/session late was called off/)
})

test('whoever dials a session that has failed hears why', async () => {
  const spec = { sessionId: 'failed', plain: false }
  const dial = () =>
    a.service.send({
      ...{ ...spec, argv: ['cat', '/dev/zero'], peerHostId: 'b', address: b.address, bwlimitBytes: null },
    })
  const received = await b.service.receive({ ...spec, argv: ['sh', '-c', 'echo no room >&2; exit 1'], peerHostId: 'a' })
  const sent = await dial()
  await expect(received.done).rejects.toThrow(/no room/)
  await expect(sent.done).rejects.toThrow(/STREAM_FAILED|no room/)
  await expect((await dial()).done).rejects.toThrow(/no room/)
})

test('a target that does not listen', async () => {
  const sent = await a.service.send({
    sessionId: 'nobody',
    argv: ['cat', '/dev/zero'],
    peerHostId: 'b',
    address: `127.0.0.1:${await freePort()}`,
    plain: false,
    bwlimitBytes: null,
  })
  await expect(sent.done).rejects.toThrow(/cannot be reached: .*ECONNREFUSED/)
})

test('a peer with another host id, another cluster, or another CA is refused, and told so at once', async () => {
  const commands = { source: ['head', '-c', '10', '/dev/zero'] as const, target: ['cat'] as const }
  const refused = async (ends: Partial<Ends>, why: RegExp) => {
    const { sent, received } = await begin({ ...commands, ...ends })
    await expect(sent.done).rejects.toMatchObject({ code: 'STREAM_FAILED', message: expect.stringMatching(why) })
    // It goes on waiting for its own peer, until it is called off.
    received.abort()
    await expect(received.done).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  }
  await refused({ expectAtTarget: 'x' }, /^TLS with host b failed: the target does not take this sender/)
  await refused({ expectAtSource: 'x' }, /^TLS with host x failed: .* is for host "b", not for x/)
  a.service.setIdentity(await authority.issue('a', 'drover:other'))
  await refused({}, /^TLS with host b failed: .*cluster/)
  a.service.setIdentity(await (await createAuthority('c1')).issue('a'))
  await refused({}, /^TLS with host b failed: .*not good/)
  a.service.setIdentity(await authority.issue('a'))
  expect(await messages(await begin(commands))).toEqual(['done', 'done'])
})

test('a stranger who knows the session takes nothing from it, whenever he comes', async () => {
  const stranger = await startHost(await authority.issue('c'))
  try {
    const intrude = async () => {
      const sent = await stranger.service.send({
        ...{ sessionId: `session-${sequence}`, argv: ['cat', '/dev/zero'], peerHostId: 'b', address: b.address },
        ...{ plain: false, bwlimitBytes: null },
      })
      await expect(sent.done).rejects.toThrow(/does not take this sender/)
    }
    sequence += 1
    const spec = { sessionId: `session-${sequence}`, plain: false }
    const received = await b.service.receive({ ...spec, argv: ['cat'], peerHostId: 'a' })
    await intrude()
    const source = ['sh', '-c', 'head -c 1000000 /dev/zero; read x <"$0"', join(directory, 'wait')] as const
    execFileSync('mkfifo', [join(directory, 'wait')])
    const sent = await a.service.send({
      ...{ ...spec, argv: source, peerHostId: 'b', address: b.address, bwlimitBytes: null },
    })
    await vi.waitFor(() => expect(sent.progress().bytes).toBeGreaterThan(500_000), { timeout: 20_000 })
    await intrude()
    writeFileSync(join(directory, 'wait'), 'go on\n')
    expect(await messages({ sent, received })).toEqual(['done', 'done'])
    expect(await sent.done).toMatchObject({ reconnects: 0, resentBytes: 0 })
  } finally {
    await stranger.service.close()
  }
})

test('no peer within the time limit, nonsense on the port, and a wrong ticket', async () => {
  await b.service.close()
  const sleeps: { ms: number; wake: () => void }[] = []
  const clock = {
    ...systemClock,
    sleep: (ms: number, signal?: AbortSignal) =>
      new Promise<void>((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason))
        sleeps.push({ ms, wake: resolve })
      }),
  }
  b = await startHost(await authority.issue('b'), clock)
  const ticket = 'r'.repeat(40)
  const received = await b.service.receive({ sessionId: 'lonely', argv: ['cat'], peerHostId: 'a', plain: true, ticket })
  const port = Number(b.address.split(':')[1])
  const answer = (text: string) =>
    new Promise<string>((resolve) => {
      let all = ''
      const socket = connect(port, '127.0.0.1', () => socket.write(text))
      socket.on('data', (chunk) => {
        all += chunk.toString()
      })
      socket.on('error', () => resolve(all))
      socket.on('close', () => resolve(all))
    })
  expect(await answer('GET / HTTP/1.1\r\n\r\n')).toBe('')
  expect(await answer('x'.repeat(10_000))).toBe('')
  expect(await answer('DROVER/1 lonely\nmore')).toBe('')
  expect(await answer('DROVER/1 lonely\n')).toMatch(/^NO /)
  expect(await answer(`DROVER/1 lonely data ${'q'.repeat(40)}\n`)).toMatch(/^NO /)
  expect(sleeps.map((sleep) => sleep.ms)).toEqual([30_000])
  sleeps[0]?.wake()
  await expect(received.done).rejects.toThrow('no peer came for session lonely within 30 s')
})

test('a process that did well carries the next transfer too; to call off the one that is done harms nobody', async () => {
  const hold = (word: string) => ({
    source: ['sleep', `0.${word}1`] as const,
    target: ['sleep', `0.${word}2`] as const,
  })
  const first = hold('800')
  const earlier = await begin(first)
  const source = parentOf(await there(first.source[1]))
  const target = parentOf(await there(first.target[1]))
  expect(await messages(earlier)).toEqual(['done', 'done'])
  const second = hold('900')
  const later = await begin(second)
  expect(parentOf(await there(second.source[1]))).toBe(source)
  expect(parentOf(await there(second.target[1]))).toBe(target)
  earlier.sent.abort()
  earlier.received.abort()
  expect(await messages(later)).toEqual(['done', 'done'])
})

test('a rate limit is kept', async () => {
  const ends = await begin({ source: ['head', '-c', '3000000', '/dev/zero'], target: ['cat'], bwlimitBytes: 2_000_000 })
  const [sent] = await Promise.all([ends.sent.done, ends.received.done])
  expect(sent.ms).toBeGreaterThan(1_200)
})

test('specs that cannot work are refused before a process starts', async () => {
  await expect(b.service.receive({ sessionId: 'a b', argv: ['cat'], peerHostId: 'a', plain: false })).rejects.toThrow(
    /session id/,
  )
  await expect(b.service.receive({ sessionId: 's', argv: ['cat'], peerHostId: 'a', plain: true })).rejects.toThrow(
    /ticket/,
  )
  await expect(
    startHost(await authority.issue('z')).then(async (host) => {
      const port = Number(host.address.split(':')[1])
      try {
        await b.service.listen({ host: '127.0.0.1', port })
      } finally {
        await host.service.close()
      }
    }),
  ).rejects.toMatchObject({ code: 'ADDRESS_TAKEN' })
})
