import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type LoopBtrfs, loopBtrfs, sh } from '../support/loop-btrfs.ts'
import { createAuthority, startHost, type TestHost } from '../unit/transfer/hosts.ts'
import { gone, parentOf, statusOf, there } from '../unit/transfer/processes.ts'

let source: LoopBtrfs
let target: LoopBtrfs
let a: TestHost
let b: TestHost
let sequence = 0

beforeAll(async () => {
  source = await loopBtrfs()
  target = await loopBtrfs()
  const authority = await createAuthority('c1')
  a = await startHost(await authority.issue('a'))
  b = await startHost(await authority.issue('b'))
})
afterAll(async () => {
  await a?.service.close()
  await b?.service.close()
  await source?.dispose()
  await target?.dispose()
})

type Argv = readonly [string, ...string[]]

const transfer = async (from: Argv, to: Argv, plain: boolean) => {
  sequence += 1
  const common = { sessionId: `t${sequence}`, plain, ...(plain ? { ticket: randomBytes(20).toString('hex') } : {}) }
  const received = await b.service.receive({ ...common, argv: to, peerHostId: 'a' })
  const sent = await a.service.send({ ...common, argv: from, peerHostId: 'b', address: b.address, bwlimitBytes: null })
  return { sent, received, ended: Promise.allSettled([sent.done, received.done]) }
}

const uuids = async (path: string) => {
  const text = await sh('btrfs', 'subvolume', 'show', path)
  return { own: /^\s*UUID:\s+(\S+)/m.exec(text)?.[1], received: /Received UUID:\s+(\S+)/.exec(text)?.[1] }
}

for (const plain of [false, true]) {
  const mode = plain ? 'plain' : 'TLS'

  test(`${mode}: a snapshot, and the next one by its difference, arrive whole`, async () => {
    const live = join(source.path, `live-${mode}`)
    const into = join(target.path, `in-${mode}`)
    await mkdir(into)
    await sh('btrfs', 'subvolume', 'create', live)
    await writeFile(join(live, 'big'), randomBytes(30 * 2 ** 20))
    await mkdir(join(live, 'many'))
    for (let index = 0; index < 200; index += 1) await writeFile(join(live, 'many', `${index}`), randomBytes(5_000))
    const one = join(source.path, `one-${mode}`)
    const two = join(source.path, `two-${mode}`)
    await sh('btrfs', 'subvolume', 'snapshot', '-r', live, one)
    await writeFile(join(live, 'many', 'new'), randomBytes(100_000))
    await sh('btrfs', 'subvolume', 'snapshot', '-r', live, two)
    const receive: Argv = ['btrfs', 'receive', '-q', '-e', into]
    const full = await transfer(['btrfs', 'send', '-q', one], receive, plain)
    expect((await full.ended).map((end) => end.status)).toEqual(['fulfilled', 'fulfilled'])
    const delta = await transfer(['btrfs', 'send', '-q', '-p', one, two], receive, plain)
    expect((await delta.ended).map((end) => end.status)).toEqual(['fulfilled', 'fulfilled'])
    const [fullBytes, deltaBytes] = [(await full.received.done).bytes, (await delta.received.done).bytes]
    expect(fullBytes).toBeGreaterThan(30 * 2 ** 20)
    expect(deltaBytes).toBeLessThan(fullBytes / 10)
    // A plain link's bytes are counted from outside: what the command read, its libraries too.
    for (const [argv, bytes] of [
      [[one], fullBytes],
      [['-p', one, two], deltaBytes],
    ] as const) {
      const exact = Number(await sh('sh', '-c', 'btrfs send -q "$@" | wc -c', 'sh', ...argv))
      if (plain) expect(Math.abs(bytes - exact)).toBeLessThan(20_000)
      else expect(bytes).toBe(exact)
    }
    for (const name of [`one-${mode}`, `two-${mode}`]) {
      expect((await uuids(join(into, name))).received).toBe((await uuids(join(source.path, name))).own)
      await sh('diff', '-r', join(source.path, name), join(into, name))
    }
  })

  test(`${mode}: a target without room is told at both ends, in one line`, async () => {
    const small = await loopBtrfs(128 * 2 ** 20)
    try {
      const live = join(source.path, `large-${mode}`)
      await sh('btrfs', 'subvolume', 'create', live)
      await writeFile(join(live, 'big'), randomBytes(150 * 2 ** 20))
      await sh('btrfs', 'property', 'set', live, 'ro', 'true')
      const { ended } = await transfer(
        ['btrfs', 'send', '-q', live],
        ['btrfs', 'receive', '-q', '-e', small.path],
        plain,
      )
      for (const end of await ended) {
        expect(end).toMatchObject({ status: 'rejected', reason: { code: 'STREAM_FAILED' } })
        if (end.status === 'rejected') {
          expect(end.reason.message).toMatch(/btrfs receive .* exit status 1: .*No space left on device/)
          expect(end.reason.message).not.toContain('\n')
        }
      }
      await gone(small.path)
    } finally {
      await small.dispose()
    }
  })
}

test('memory does not grow with the bytes', async () => {
  const peak = async (megabytes: number) => {
    const block = `bs=${2 ** 20 + sequence}`
    // The target's command holds its input open after the bytes, so that the processes can still be looked at.
    const { received, sent, ended } = await transfer(
      ['dd', 'if=/dev/zero', block, `count=${megabytes}`, 'status=none'],
      ['sh', '-c', 'cat >/dev/null; exec sleep 1', `hold-${sequence}`],
      false,
    )
    const processes = [parentOf(await there(block)), parentOf(await there(`hold-${sequence - 1}`))]
    const sampler = setInterval(() => {
      peaks.forEach((_, index) => {
        try {
          peaks[index] = Math.max(peaks[index] ?? 0, statusOf(processes[index] ?? 0, 'VmHWM') || 0)
        } catch {
          // It has ended.
        }
      })
    }, 20)
    const peaks = [0, 0]
    await ended
    clearInterval(sampler)
    expect((await received.done).bytes).toBe((await sent.done).bytes)
    return peaks
  }
  const small = await peak(384)
  const large = await peak(1536)
  large.forEach((kilobytes, index) => {
    expect(kilobytes).toBeGreaterThan(10_000)
    expect(kilobytes - (small[index] ?? 0)).toBeLessThan(30_000)
  })
})
