import { expect, test } from 'vitest'
import type { SnapshotRecord } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Agent } from '../../../src/migrate/agent.ts'
import { changedSince } from '../../../src/migrate/estimate.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { shipRound } from '../../../src/migrate/round.ts'

/* A source whose storage is a cloud: snapshots are not whole at once, and what changed is not known at once. */

const pending = new DroverError('TIMED_OUT', 'not ended yet', { details: { pending: true } })
const ended = new DroverError('STREAM_FAILED', 'the stream ends here')

/** @param slowMs until the snapshot is whole @param changedBytes what the source answers */
const world = (slowMs: number, changedBytes: () => Promise<number | null> = async () => 0) => {
  let now = 0
  const called: string[] = []
  const clock = {
    monotonic: () => now,
    sleep: async (ms: number) => {
      now += ms
    },
  }
  const source = {
    snapshot: async () => {
      if (now < slowMs) {
        now += 5_000
        throw pending
      }
      return { streamUuid: 'u', uuid: 'u' } as SnapshotRecord
    },
    send: async ({ sessionId }: { sessionId: string }) => {
      called.push(`send ${sessions.indexOf(sessionId)}`)
      throw ended
    },
    changedBytes,
  }
  const sessions: string[] = []
  const target = {
    receive: async ({ sessionId }: { sessionId: string }) => {
      called.push(`receive ${sessions.push(sessionId) - 1}`)
      return { dataAddress: 'there:1', streamVersion: 1 }
    },
    abortTransfer: async ({ sessionId }: { sessionId: string }) => {
      called.push(`abort ${sessions.indexOf(sessionId)}`)
    },
  }
  const giveUp = new AbortController()
  const store = { updateMove: async (move: unknown) => move, move: async () => null }
  const context = {
    source: source as unknown as Agent,
    target: target as unknown as Agent,
    command: { moveId: 'm', volumeName: 'v' },
    move: { id: 'm', request: {}, warnings: [], rounds: [] },
    sourceHost: { id: 'a', name: 'a' },
    targetHost: { id: 'b', name: 'b' },
    signal: giveUp.signal,
    stream: 'native',
    parts: {
      ...{ clock, store, trusted: () => true, emit: async () => {}, publish: () => {}, mayWrite: async () => {} },
      progress: { set: () => {}, wait: () => {} },
    },
  } as unknown as MoveContext
  const run = () => shipRound(context, { index: 0, base: null, final: false, expectedBytes: 7 })
  return { run, called, context, giveUp }
}

test('a snapshot that is soon whole is sent into the session that was opened meanwhile', async () => {
  const { run, called } = world(10_000)
  await expect(run()).rejects.toBe(ended)
  expect(called).toEqual(['receive 0', 'send 0'])
})

test('one that takes longer than a target waits for its sender: into another, opened when it is whole', async () => {
  const { run, called } = world(90_000)
  await expect(run()).rejects.toBe(ended)
  expect(called).toEqual(['receive 0', 'abort 0', 'receive 1', 'send 1'])
})

test.each([
  ['is not known in time', async () => null],
  ['is not answered', () => Promise.reject(new DroverError('HOST_UNREACHABLE', 'no answer'))],
  ['breaks on its way', () => Promise.reject(new DroverError('STREAM_FAILED', 'block 7 came damaged'))],
])('what changed %s: the move goes on without, and says so once', async (_, answer) => {
  const { context } = world(0, answer)
  for (const _ of ['once', 'again']) expect(await changedSince(context, 's')).toBeNull()
  expect(context.move.warnings).toEqual([expect.stringContaining('volume v changed between two rounds was not known')])
})

test('what the source refuses is no estimate that is late, and a cancel waits for none', async () => {
  const refused = new DroverError('STALE_EPOCH', 'not the owner')
  await expect(changedSince(world(0, () => Promise.reject(refused)).context, 's')).rejects.toBe(refused)
  const { context, giveUp } = world(0, () => new Promise(() => {}))
  const asked = changedSince(context, 's')
  giveUp.abort(new Error('cancelled'))
  await expect(asked).rejects.toThrow('cancelled')
})
