import { expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { streamFailed } from '../../../src/migrate/transfer/failure.ts'
import { flushing } from '../../../src/migrate/transfer/flushing.ts'
import type { Task } from '../../../src/migrate/transfer/task.ts'

const mib = 2 ** 20
const told: number[] = []
const task: Task = {
  identity: { caPem: '', certPem: '', keyPem: '' },
  ...{ clock: systemClock, aborted: new Promise<never>(() => {}), progress: (bytes: number) => void told.push(bytes) },
}

/** Syncs that end when the test says so. */
const heldSyncs = () => {
  const begun: { directory: string; killed: boolean; end: (error?: Error) => void }[] = []
  const start = (directory: string) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const one = { directory, killed: false, end: (error?: Error) => (error ? reject(error) : resolve()) }
    begun.push(one)
    const kill = async () => {
      one.killed = true
    }
    return { ended: promise, kill }
  }
  return { begun, start }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('once for each 128 MiB, never twice at a time, and the last is waited for', async () => {
  const { begun, start } = heldSyncs()
  let ended = false
  const work = async ({ progress }: Task) => {
    for (const bytes of [127 * mib, 128 * mib, 300 * mib]) progress(bytes)
    expect(begun).toHaveLength(1)
    begun[0]?.end()
    await turn()
    progress(301 * mib)
    expect(begun).toHaveLength(2)
    return 'whole'
  }
  const done = flushing('/pool', task, work, start).finally(() => {
    ended = true
  })
  while (begun.length < 2) await turn()
  await turn()
  expect(ended).toBe(false)
  begun[1]?.end()
  expect(await done).toBe('whole')
  expect(told).toEqual([127 * mib, 128 * mib, 300 * mib, 301 * mib])
  expect(begun.map(({ directory }) => directory)).toEqual(['/pool', '/pool'])
})

test('a disk that does not take it calls the work off', async () => {
  const { begun, start } = heldSyncs()
  const done = flushing(
    '/pool',
    task,
    async ({ progress, aborted }) => {
      progress(128 * mib)
      begun[0]?.end(new Error('exit status 1: EIO'))
      return aborted
    },
    start,
  )
  await expect(done).rejects.toMatchObject({
    code: 'STREAM_FAILED',
    message: 'what arrives does not reach the disk: exit status 1: EIO',
  })
})

test('an error that comes after the last byte is no success', async () => {
  const { begun, start } = heldSyncs()
  const done = flushing('/pool', task, async ({ progress }) => progress(128 * mib), start)
  await turn()
  begun[0]?.end(new Error('ENOSPC'))
  await expect(done).rejects.toThrow('ENOSPC')
})

test('called off, it does not wait for a sync that hangs with its disk', async () => {
  const { begun, start } = heldSyncs()
  const off = Promise.withResolvers<never>()
  const called = { ...task, aborted: off.promise }
  const during = flushing(
    '/pool',
    called,
    async ({ progress, aborted }) => {
      progress(128 * mib)
      return aborted
    },
    start,
  )
  const after = flushing('/pool', called, async ({ progress }) => progress(128 * mib), start)
  off.reject(streamFailed('called off'))
  await expect(during).rejects.toThrow('called off')
  await expect(after).rejects.toThrow('called off')
  expect(begun.map(({ killed }) => killed)).toEqual([true, true])
})

test('a directory that is not there is told', async () => {
  const done = flushing('/nonexistent/landing', task, async ({ progress, aborted }) => {
    progress(128 * mib)
    return aborted
  })
  await expect(done).rejects.toThrow(/does not reach the disk: .*\/nonexistent\/landing/)
})

test('without a directory the work runs as it is', async () => {
  expect(await flushing(undefined, task, async (mine) => mine === task)).toBe(true)
})
