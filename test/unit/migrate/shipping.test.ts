import { expect, test } from 'vitest'
import type { SnapshotRecord } from '../../../src/domain/dataset.ts'
import { DroverError } from '../../../src/domain/errors.ts'
import type { Agent, TransferStatus } from '../../../src/migrate/agent.ts'
import type { MoveContext } from '../../../src/migrate/move-context.ts'
import { openSession, ship } from '../../../src/migrate/shipping.ts'

const status = (change: Partial<TransferStatus>): TransferStatus => ({
  ...{ state: 'done', bytes: 7, ms: 1, digest: 'd', error: null, retryable: false },
  ...{ resentBytes: 0, reconnects: 0, wireBytes: 7 },
  ...change,
})
const done = status({})
const lost = status({ state: 'failed', digest: null, error: 'the link broke', retryable: true, wireBytes: 0 })
const failed = status({ state: 'failed', digest: null, error: 'no such subvolume' })
const unreachable = new DroverError('HOST_UNREACHABLE', 'no answer')

/** Two agents that answer what they are told to, in turn, and a clock that only sleeps forward. */
const world = (answers: readonly (TransferStatus | Error)[], change: Partial<MoveContext> = {}) => {
  const left = [...answers]
  const called: string[] = []
  let now = 0
  const clock = {
    monotonic: () => now,
    sleep: async (ms: number) => {
      now += ms
    },
  }
  const source = {
    send: async () => void called.push('send'),
    transferStatus: async () => {
      const answer = left.shift() ?? status({})
      if (answer instanceof Error) throw answer
      return answer
    },
  }
  const target = {
    receive: async () => {
      called.push('receive')
      return { dataAddress: 'there:1' }
    },
    received: async () => void called.push('received'),
    transferStatus: async () => status({}),
  }
  const context = {
    source: source as unknown as Agent,
    target: target as unknown as Agent,
    command: { moveId: 'm', volumeName: 'v' },
    move: { request: {} },
    sourceHost: { id: 'a', name: 'a' },
    targetHost: { id: 'b', name: 'b' },
    signal: new AbortController().signal,
    parts: { clock, trusted: () => false, emit: async () => {}, progress: { set: () => {} } },
    ...change,
  } as unknown as MoveContext
  const run = async (final: boolean) => {
    const shipment = { index: 0, name: 's', base: null, final, expectedBytes: 7 }
    const opened = await openSession(context, shipment)
    return ship(context, shipment, { streamUuid: 'u' } as SnapshotRecord, opened)
  }
  return { run, called, now: () => now }
}
const once = ['receive', 'send']

test('a stream that lost its link for good is sent again, into another session', async () => {
  const { run, called } = world([lost, lost])
  expect(await run(false)).toMatchObject({ bytes: 7 })
  expect(called).toEqual([...once, ...once, ...once, 'received'])
})

test('not for ever, and while writers are stopped once only', async () => {
  const many = Array.from({ length: 50 }, () => lost)
  const precopy = world(many)
  await expect(precopy.run(false)).rejects.toThrow(/shipping volume v from a to b broke: the link broke/)
  expect(precopy.called.filter((call) => call === 'send')).toHaveLength(6)
  const delta = world(many)
  await expect(delta.run(true)).rejects.toMatchObject({ code: 'STREAM_FAILED' })
  expect(delta.called.filter((call) => call === 'send')).toHaveLength(2)
})

test('where the target kept what arrived, the rest is sent; what failed once more after that is begun anew', async () => {
  const resumes: unknown[] = []
  const tokens: unknown[] = []
  // Of the second one that was lost it is known what it packed.
  const status = [lost, failed, { ...lost, wireBytes: 3 }]
  const { run } = world([], {
    target: {
      receive: async (args: { resumes?: string }) => {
        resumes.push(args.resumes)
        return { dataAddress: 'there:1', ...(args.resumes === undefined ? {} : { resumeToken: 'token' }) }
      },
      received: async () => {},
      transferStatus: async () => done,
    } as unknown as Agent,
    source: {
      send: async (args: { resumeToken?: string }) => tokens.push(args.resumeToken),
      transferStatus: async () => status.shift() ?? done,
    } as unknown as Agent,
  })
  // What the session before had sent counts, for the target has kept it.
  expect(await run(false)).toMatchObject({ bytes: 14, wireBytes: 10 })
  expect(resumes).toEqual([undefined, 'u', undefined, 'u'])
  expect(tokens).toEqual([undefined, 'token', undefined, 'token'])
})

test('what went on and failed is begun anew also when it was the last try', async () => {
  const sent: unknown[] = []
  const goesOn = (token: string | undefined) => (token === undefined ? lost : failed)
  const { run } = world([], {
    target: {
      receive: async (args: { resumes?: string }) => ({
        dataAddress: 'there:1',
        ...(args.resumes === undefined ? {} : { resumeToken: 'token' }),
      }),
      received: async () => {},
      transferStatus: async () => done,
    } as unknown as Agent,
    source: {
      send: async (args: { resumeToken?: string }) => void sent.push(args.resumeToken),
      transferStatus: async () => (sent.length === 3 ? done : goesOn(sent.at(-1) as string | undefined)),
    } as unknown as Agent,
  })
  expect(await run(true)).toMatchObject({ bytes: 7 })
  expect(sent).toEqual([undefined, 'token', undefined])
})

test('what failed by itself is not tried again', async () => {
  const { run, called } = world([failed])
  await expect(run(false)).rejects.toThrow(/no such subvolume/)
  expect(called).toEqual(once)
})

test('a host that cannot be asked is asked again, as long as its stream may be without a link', async () => {
  const { run, called } = world([unreachable, unreachable, unreachable])
  expect(await run(true)).toMatchObject({ bytes: 7 })
  expect(called).toEqual([...once, 'received'])
  const gone = world(Array.from({ length: 1000 }, () => unreachable))
  await expect(gone.run(true)).rejects.toBe(unreachable)
  expect(gone.now()).toBeLessThan(30_000)
})

test('a cancel does not wait for an answer', async () => {
  const abort = new AbortController()
  const hanging = world([], {
    signal: abort.signal,
    source: {
      send: async () => {},
      transferStatus: () => {
        abort.abort(new DroverError('MOVE_CANCELLED', 'cancelled'))
        return new Promise(() => {})
      },
    } as unknown as Agent,
  })
  await expect(hanging.run(false)).rejects.toMatchObject({ code: 'MOVE_CANCELLED' })
})

test('what is packed goes over TLS also where a plain link is trusted', async () => {
  const plain: boolean[] = []
  const receive = async (args: { plain: boolean }) => {
    plain.push(args.plain)
    return { dataAddress: 'there:1' }
  }
  for (const compress of ['none', 'zstd']) {
    const { context } = {
      context: {
        ...{ command: {}, move: { request: { compress } }, sourceHost: {}, targetHost: {} },
        ...{ target: { receive }, parts: { trusted: () => true } },
      } as unknown as MoveContext,
    }
    await openSession(context, { index: 0, base: null, final: false, expectedBytes: 0 })
  }
  expect(plain).toEqual([true, false])
})
