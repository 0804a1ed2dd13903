import { expect, test } from 'vitest'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'

const exec = createExec(silentLogger)

test('both streams come whole, in the tongue that errors are read in, and no input is none', async () => {
  const said = await exec.run(['sh', '-c', 'cat; echo "out: $LC_ALL"; echo err >&2'])
  expect(said).toEqual({ stdout: 'out: C\n', stderr: 'err\n' })
  const large = await exec.run(['sh', '-c', 'head -c 3000000 /dev/zero | tr "\\0" é'])
  expect(large.stdout.length).toBeGreaterThanOrEqual(3_000_000)
})

test('input is given, and a command that does not read all of it may end well', async () => {
  const text = 'x'.repeat(1_000_000)
  expect((await exec.run(['cat'], { input: text })).stdout).toBe(text)
  expect((await exec.run(['sh', '-c', 'exec <&-; echo done'], { input: text })).stdout).toBe('done\n')
})

test('one that ends badly is told with its exit status and its last line; by a signal, without a status', async () => {
  await expect(exec.run(['sh', '-c', 'echo first >&2; echo last >&2; exit 3'])).rejects.toMatchObject({
    code: 'COMMAND_FAILED',
    exitCode: 3,
    stderr: 'first\nlast\n',
    message: expect.stringMatching(/failed \(exit 3\): last$/),
  })
  await expect(exec.run(['sh', '-c', 'kill -KILL $$'])).rejects.toMatchObject({
    code: 'COMMAND_FAILED',
    exitCode: null,
    cause: expect.objectContaining({ message: 'it was ended by SIGKILL' }),
  })
})

test('one that is not there is named with what to install; an argument that cannot be given is an error of the command', async () => {
  await expect(exec.run(['no-such-program'])).rejects.toMatchObject({ code: 'MISSING_PROGRAM' })
  await expect(exec.run(['true', 'a\0b'])).rejects.toMatchObject({ code: 'COMMAND_FAILED', exitCode: null })
})

test('one that takes too long, or is no longer wanted, is killed and has ended', async () => {
  await expect(exec.run(['sleep', '1000.25'], { timeoutMs: 50 })).rejects.toMatchObject({ code: 'TIMED_OUT' })
  const stop = new AbortController()
  const running = exec.run(['sleep', '1000.25'], { signal: stop.signal })
  stop.abort(new Error('not wanted'))
  await expect(running).rejects.toThrow('not wanted')
  await expect(exec.run(['sleep', '1000.25'], { signal: stop.signal })).rejects.toThrow('not wanted')
  await expect(exec.run(['pgrep', '-fx', 'sleep 1000.25'])).rejects.toMatchObject({ exitCode: 1 })
})

test('one that says without end is killed', async () => {
  await expect(exec.run(['yes'])).rejects.toMatchObject({ code: 'COMMAND_FAILED' })
})
