import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runGroup } from '../../../src/lib/run-group.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'

const never = new AbortController().signal
const shell = (script: string, more: { env?: Record<string, string>; timeoutMs?: number; signal?: AbortSignal } = {}) =>
  runGroup(['sh', '-c', script], { env: {}, timeoutMs: 30_000, signal: never, ...more })

/** The child of the program's own, whose pid it wrote. */
const grandchild = (file: string): number => Number(readFileSync(file, 'utf8'))
const isAlive = (pid: number): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return false
  }
}

test('its end in words, with the last line that it said', async () => {
  expect(await shell('test "$DROVER_VOLUME" = db', { env: { DROVER_VOLUME: 'db' } })).toBeNull()
  expect(await shell('echo first >&2; echo no room >&2; exit 3')).toBe('exit status 3: no room')
  expect(await shell('kill -9 $$')).toBe('SIGKILL')
  await expect(runGroup(['/nowhere/hook'], { env: {}, timeoutMs: 1_000, signal: never })).rejects.toMatchObject({
    code: 'MISSING_PROGRAM',
  })
})

test.each(['the time limit', 'an interrupt'])('%s ends it with all that it started', async (how) => {
  const file = join(await temporaryDirectory(), 'pid')
  const interrupt = new AbortController()
  const running = shell(`sleep 300 & echo $! >${file}; echo waiting >&2; wait`, {
    signal: interrupt.signal,
    timeoutMs: how === 'the time limit' ? 1_500 : 60_000,
  })
  if (how === 'the time limit') expect(await running).toBe('it did not end within 1500 ms and was killed: waiting')
  else {
    await expect.poll(() => readFileSync(file, { encoding: 'utf8', flag: 'a+' }), { timeout: 10_000 }).toMatch(/\d\n/)
    interrupt.abort(new Error('undone'))
    await expect(running).rejects.toThrow('undone')
  }
  await expect.poll(() => isAlive(grandchild(file)), { timeout: 10_000 }).toBe(false)
})
