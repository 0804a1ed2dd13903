import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { flushing } from '../../../src/migrate/transfer/flushing.ts'
import type { Task } from '../../../src/migrate/transfer/task.ts'

const mib = 2 ** 20
const told: number[] = []
const task: Task = {
  identity: { caPem: '', certPem: '', keyPem: '' },
  ...{ clock: systemClock, aborted: new Promise<never>(() => {}), progress: (bytes: number) => void told.push(bytes) },
}

test('once for each 128 MiB, never twice at a time, and the last is waited for', async () => {
  const syncs: (() => void)[] = []
  let ended = false
  const done = flushing(
    tmpdir(),
    task,
    async ({ progress }) => {
      for (const bytes of [127 * mib, 128 * mib, 300 * mib]) progress(bytes)
      expect(syncs).toHaveLength(1)
      syncs[0]?.()
      await new Promise((resolve) => setImmediate(resolve))
      progress(301 * mib)
      expect(syncs).toHaveLength(2)
      return 'whole'
    },
    () => new Promise((resolve) => syncs.push(resolve)),
  ).finally(() => {
    ended = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(ended).toBe(false)
  syncs[1]?.()
  expect(await done).toBe('whole')
  expect(told).toEqual([127 * mib, 128 * mib, 300 * mib, 301 * mib])
})

test('a disk that does not take it calls the work off', async () => {
  const done = flushing(
    tmpdir(),
    task,
    async ({ progress, aborted }) => {
      progress(128 * mib)
      return aborted
    },
    async () => {
      throw new Error('EIO: what was written did not reach the disk')
    },
  )
  await expect(done).rejects.toMatchObject({
    code: 'STREAM_FAILED',
    message: `what arrives does not reach the disk at ${tmpdir()}: EIO: what was written did not reach the disk`,
  })
})

test('an error that comes after the last byte is no success', async () => {
  const done = flushing(
    tmpdir(),
    task,
    async ({ progress }) => progress(128 * mib),
    async () => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      throw new Error('ENOSPC: what was written did not reach the disk')
    },
  )
  await expect(done).rejects.toThrow('ENOSPC')
})

test('a directory that is not there is told, and nothing begins', async () => {
  const done = flushing('/nonexistent/landing', task, async () => expect.unreachable())
  await expect(done).rejects.toMatchObject({ code: 'STREAM_FAILED', message: expect.stringContaining('ENOENT') })
})

test('without a directory the work runs as it is', async () => {
  expect(await flushing(undefined, task, async (mine) => mine === task)).toBe(true)
})
