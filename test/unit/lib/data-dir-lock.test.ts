import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, expect, test } from 'vitest'
import { hasCode } from '../../../src/domain/errors.ts'
import { lockDataDir } from '../../../src/lib/data-dir-lock.ts'
import { Cleanup } from '../cluster/harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

/** Another process that holds the lock until it is killed; resolves once it has it. */
const holder = async (dataDir: string, extra = ''): Promise<ChildProcess> => {
  const module = fileURLToPath(new URL('../../../src/lib/data-dir-lock.ts', import.meta.url))
  const script = `
    import { lockDataDir } from ${JSON.stringify(module)}
    globalThis.kept = await lockDataDir(${JSON.stringify(dataDir)})
    ${extra}
    process.stdout.write('locked')
    setInterval(() => {}, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
  cleanup.defer(() => child.kill('SIGKILL'))
  await once(child.stdout, 'data')
  return child
}

const refused = (dataDir: string, pid: number | undefined) =>
  expect(lockDataDir(dataDir)).rejects.toSatisfy(
    (error) => hasCode(error, 'ALREADY_RUNNING') && error.message.includes(`pid ${pid}`),
    `refused, naming pid ${pid}`,
  )

test('one process holds it; another hears its pid; kill -9 frees it', async () => {
  const dataDir = await cleanup.directory()
  const child = await holder(dataDir)
  await refused(dataDir, child.pid)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const lock = await lockDataDir(dataDir)
  lock.release()
  expect((await stat(join(dataDir, 'lock'))).mode & 0o777).toBe(0o600)
})

test('a process that the holder started does not keep it', async () => {
  const dataDir = await cleanup.directory()
  const child = await holder(
    dataDir,
    `const { spawn } = await import('node:child_process')
     const kept2 = spawn('sleep', ['60'], { stdio: 'ignore', detached: true })
     process.stdout.write(String(kept2.pid) + ' ')`,
  )
  child.stdout?.resume()
  const pids = await childrenOf(child.pid ?? 0)
  cleanup.defer(() => {
    for (const pid of pids) process.kill(pid, 'SIGKILL')
  })
  expect(pids).toHaveLength(1)
  child.kill('SIGKILL')
  await once(child, 'exit')
  ;(await lockDataDir(dataDir)).release()
})

const childrenOf = async (pid: number): Promise<number[]> => {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  return text.trim().split(' ').filter(Boolean).map(Number)
}

test('the same process does not get it twice, and loses nothing by asking', async () => {
  const dataDir = await cleanup.directory()
  const lock = await lockDataDir(dataDir)
  cleanup.defer(() => lock.release())
  await refused(dataDir, process.pid)
  await refused(dataDir, process.pid)
})

test('two directories are two locks; a released one is free', async () => {
  const [one, two] = [await cleanup.directory(), await cleanup.directory()]
  const first = await lockDataDir(one)
  ;(await lockDataDir(two)).release()
  first.release()
  ;(await lockDataDir(one)).release()
})
