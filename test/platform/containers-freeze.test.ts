import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { freezerOf, killAll, processesIn } from '../../src/containers/cgroup.ts'
import { createDockerRuntime } from '../../src/containers/docker-runtime.ts'
import type { ContainerRuntime } from '../../src/containers/runtime.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createExec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { importBusybox, startEngine, type TestEngine } from '../support/engine.ts'
import { type RecordingPlugin, startRecordingPlugin } from '../support/recording-plugin.ts'

// Real engines, on a machine that may have other work.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

let engine: TestEngine
let plugin: RecordingPlugin
let runtime: ContainerRuntime

beforeAll(async () => {
  engine = await startEngine('host1')
  plugin = await startRecordingPlugin(engine)
  runtime = createDockerRuntime({
    socketPath: engine.socketPath,
    clock: systemClock,
    logger: silentLogger,
    exec: createExec(silentLogger),
  })
  await importBusybox(engine)
}, 120_000)

afterAll(async () => {
  await engine?.stop()
  await plugin?.close()
}, 60_000)

const counters = 8
const writers = `
for k in $(echo 1 2 3 4 5 6 7 8); do
  (trap "echo stopped >/x/$k" TERM INT; i=0; while :; do i=$((i+1)); echo $i >/x/$k; done) &
done
wait`

const run = async (...args: string[]): Promise<string> => {
  const id = await engine.docker('run', '-d', '--volume-driver', 'drover', ...args, 'busybox:test', 'sh', '-c', writers)
  onTestFinished(async () => {
    await engine.docker('rm', '-f', id).catch(() => '')
  })
  return id
}

const written = async (volume: string): Promise<string[]> => {
  const directory = plugin.directory(volume)
  const names = (await readdir(directory)).filter((name) => /^\d$/.test(name)).sort()
  return Promise.all(names.map((name) => readFile(join(directory, name), 'utf8')))
}

const until = async (done: () => Promise<boolean>): Promise<void> => {
  const giveUpAt = performance.now() + 20_000
  while (!(await done().catch(() => false))) {
    if (performance.now() > giveUpAt) throw new Error('what the test waits for did not come within 20 s')
    await sleep(5)
  }
}

const untilAllWrite = async (volume: string): Promise<void> => {
  await until(async () => (await written(volume)).length === counters)
}

const inState = async (id: string, wanted: string): Promise<void> => {
  expect(await engine.docker('inspect', '-f', '{{.State.Status}}', id)).toBe(wanted)
}

describe('killing while frozen', () => {
  test('lets no writer take another step, and ends with the volume unmounted', async () => {
    for (const round of [1, 2, 3]) {
      const volume = `f${round}`
      const id = await run('-v', `${volume}:/x`)
      await untilAllWrite(volume)
      await runtime.pause(id)
      const frozen = await written(volume)
      const pid = Number(await engine.docker('inspect', '-f', '{{.State.Pid}}', id))
      const cgroup = await freezerOf({ proc: '/proc', cgroup: '/sys/fs/cgroup' }, pid)
      expect((await processesIn(cgroup?.path ?? '')).length).toBeGreaterThan(counters)
      await runtime.killFrozen(id)
      expect(await processesIn(cgroup?.path ?? '')).toEqual([])
      expect(await written(volume)).toEqual(frozen)
      expect(plugin.calls).toContain(`Unmount ${volume}`)
      await inState(id, 'exited')
      await runtime.killFrozen(id)
    }
  })

  test('takes --init, --pid host, --rm, and what docker exec started', async () => {
    for (const [volume, ...args] of [
      ['vol-i', '--init'],
      ['vol-h', '--pid', 'host'],
      ['vol-r', '--rm'],
    ] as const) {
      const id = await run('-v', `${volume}:/x`, ...args)
      await untilAllWrite(volume)
      await engine.docker('exec', '-d', id, 'sh', '-c', 'while :; do echo more >/x/9; done')
      await until(async () => (await written(volume)).length === counters + 1)
      await runtime.pause(id)
      const frozen = await written(volume)
      await runtime.killFrozen(id)
      await runtime.remove(id)
      expect(await written(volume)).toEqual(frozen)
    }
  })

  test('of one that was thawed meanwhile freezes it again, and all end', async () => {
    const id = await run('-v', 'vol-t:/x')
    await untilAllWrite('vol-t')
    await runtime.pause(id)
    await engine.docker('unpause', id)
    await runtime.killFrozen(id)
    await inState(id, 'exited')
    const after = await written('vol-t')
    await sleep(100)
    expect(await written('vol-t')).toEqual(after)
  })

  test('of the absent and the stopped is a success, and the killed starts again', async () => {
    await runtime.killFrozen('absent')
    const id = await run('-v', 'vol-u:/x', '--restart', 'always')
    await untilAllWrite('vol-u')
    await runtime.disarm(id)
    await runtime.pause(id)
    await runtime.killFrozen(id)
    await inState(id, 'exited')
    await runtime.start(id)
    await inState(id, 'running')
  })

  test('that is still to be restarted by the engine is an error, not a silence', async () => {
    const id = await run('-v', 'vol-w:/x', '--restart', 'always')
    await untilAllWrite('vol-w')
    await runtime.pause(id)
    await expect(runtime.killFrozen(id)).rejects.toThrow(/runs again/)
  })
})

const unified = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'] as const

describe('a cgroup of version 2', () => {
  test('is killed whole while it is frozen', async () => {
    const mounts = await readFile('/proc/self/mountinfo', 'utf8')
    const root = unified.find((path) => new RegExp(` ${path} .* - cgroup2 `).test(mounts))
    expect(root, 'this kernel has no cgroup2 mount').toBeDefined()
    const path = join(root ?? '', `drover-test-${process.pid}`)
    await mkdir(join(path, 'below'), { recursive: true })
    const file = join(engine.directory, 'v2')
    const child = createExec(silentLogger).spawn(
      [
        'sh',
        '-c',
        'echo $$ >"$1"; while :; do date +%s%N >"$2"; done',
        'sh',
        join(path, 'below', 'cgroup.procs'),
        file,
      ],
      'ignore',
    )
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await until(async () => (await processesIn(path)).length === 0)
      await rmdir(join(path, 'below'))
      await rmdir(path)
    })
    await until(async () => (await readFile(file, 'utf8')) !== '')
    await writeFile(join(path, 'cgroup.freeze'), '1')
    await until(async () => (await readFile(join(path, 'cgroup.events'), 'utf8')).includes('frozen 1'))
    const frozen = await readFile(file, 'utf8')
    await killAll({ version: 2, path })
    await until(async () => (await processesIn(path)).length === 0)
    expect(await readFile(file, 'utf8')).toBe(frozen)
  })
})
