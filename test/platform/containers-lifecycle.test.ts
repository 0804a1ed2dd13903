import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { createDockerRuntime } from '../../src/containers/docker-runtime.ts'
import { type ContainerRuntime, holdsVolume } from '../../src/containers/runtime.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createExec, type Exec } from '../../src/lib/exec.ts'
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
    socketPath: `unix://${engine.socketPath}`,
    clock: systemClock,
    logger: silentLogger,
    exec: engineExec(engine),
  })
  await importBusybox(engine)
}, 120_000)

afterAll(async () => {
  await engine?.stop()
  await plugin?.close()
}, 60_000)

/** `docker ARGS busybox:test COMMAND`; removed when the test ends. */
const docker = async (args: string, ...command: string[]): Promise<string> => {
  const id = await engine.docker(...args.split(' '), 'busybox:test', ...command)
  onTestFinished(async () => {
    await engine.docker('rm', '-f', id).catch(() => '')
  })
  return id
}

/** Commands on the engine's own network, where `vold` would run. */
const engineExec = ({ pid }: TestEngine): Exec => {
  const exec = createExec(silentLogger)
  return { ...exec, run: (argv, options) => exec.run(['nsenter', '--target', String(pid), '--net', ...argv], options) }
}

const state = (id: string) => engine.docker('inspect', '-f', '{{.State.Status}}', id)
const policy = (id: string) => engine.docker('inspect', '-f', '{{.HostConfig.RestartPolicy.Name}}', id)

describe('the engine', () => {
  test('answers with its version', async () => {
    expect((await runtime.ping()).version).toMatch(/^\d+\.\d+/)
  })

  test('that is not there is DOCKER_UNREACHABLE', async () => {
    const socketPath = `${engine.directory}/nobody.sock`
    const absent = createDockerRuntime({
      socketPath,
      clock: systemClock,
      logger: silentLogger,
      exec: createExec(silentLogger),
    })
    await expect(absent.ping()).rejects.toMatchObject({ code: 'DOCKER_UNREACHABLE' })
    await expect(absent.usersOf('db')).rejects.toMatchObject({ code: 'DOCKER_UNREACHABLE' })
  })
})

describe('users of a volume', () => {
  test('are found whatever their state, and only those of driver drover', async () => {
    const running = await docker('run -d --name u1 -v used:/x --volume-driver drover --restart always', 'sleep', '1000')
    const stopped = await docker('create --name u2 -v used:/y -v other:/x --volume-driver drover', 'true')
    await docker('create --name u3 -v local1:/used', 'true')
    const users = await runtime.usersOf('used')
    expect(users.find(({ id }) => id === running)).toEqual({
      id: running,
      name: 'u1',
      image: 'busybox:test',
      state: 'running',
      pid: Number(await engine.docker('inspect', '-f', '{{.State.Pid}}', running)),
      startsByItself: true,
      mountPath: '/x',
    })
    expect(users.find(({ id }) => id === stopped)).toMatchObject({ state: 'created', pid: 0, mountPath: '/y' })
    expect(users).toHaveLength(2)
    expect(users.filter(holdsVolume)).toHaveLength(1)
    expect(await runtime.usersOf('local1')).toEqual([])
    const all = await runtime.allUsers()
    expect([...all.keys()].sort()).toEqual(['other', 'used'])
    expect(all.get('used')).toHaveLength(2)
  })

  test('that are starting right now count as running', async () => {
    const id = await docker('create --name slow -v slow:/x --volume-driver drover', 'sleep', '1000')
    const release = plugin.holdMounts()
    const starting = engine.docker('start', id)
    try {
      for (let tries = 0; tries < 500 && !plugin.calls.includes('Mount slow'); tries += 1) await sleep(10)
      const users = await runtime.usersOf('slow')
      expect(users).toMatchObject([{ id, state: 'running', startsByItself: true }])
    } finally {
      release()
    }
    await starting
    expect((await runtime.usersOf('slow'))[0]?.pid).toBeGreaterThan(1)
  })
})

describe('restart policy', () => {
  test('is switched off and back, on the running and the stopped', async () => {
    const id = await docker('run -d -v policy:/x --volume-driver drover --restart on-failure:5', 'sleep', '1000')
    const spec = await runtime.capture(id, ['policy'])
    for (const _again of [1, 2]) await runtime.disarm(id)
    expect(await policy(id)).toBe('no')
    await engine.docker('kill', id)
    expect(await state(id)).toBe('exited')
    for (const _again of [1, 2]) await runtime.rearm(id, spec.restartPolicy)
    expect((await runtime.capture(id, ['policy'])).restartPolicy).toEqual({ name: 'on-failure', maximumRetryCount: 5 })
  })

  test('of --rm and of the absent is no error', async () => {
    const id = await docker('run -d --rm', 'sleep', '1000')
    await runtime.disarm(id)
    await runtime.rearm(id, { name: 'no', maximumRetryCount: 0 })
    await runtime.disarm('absent')
    await runtime.rearm('absent', { name: 'always', maximumRetryCount: 0 })
  })
})

describe('stop and remove', () => {
  test('end when the volume is unmounted, and again, and on the absent', async () => {
    const id = await docker(
      'run -d -v st:/x --volume-driver drover',
      'sh',
      '-c',
      'trap "exit 3" TERM; while :; do sleep 0.1; done',
    )
    await runtime.stop(id, 10)
    expect(plugin.calls).toContain('Unmount st')
    expect(await engine.docker('inspect', '-f', '{{.State.ExitCode}}', id)).toBe('3')
    await runtime.stop(id, null)
    await runtime.remove(id)
    await runtime.remove(id)
    await runtime.stop(id, null)
    expect(await runtime.usersOf('st')).toEqual([])
  })

  test('of a --rm container, which vanishes', async () => {
    const id = await docker('run -d --rm --name vanish -v va:/x --volume-driver drover', 'sleep', '1000')
    await runtime.stop(id, 0)
    await runtime.remove(id)
    expect(await runtime.find('vanish')).toBeNull()
    expect(plugin.calls).toContain('Unmount va')
  })

  test('a running container is not removed', async () => {
    const id = await docker('run -d', 'sleep', '1000')
    await expect(runtime.remove(id)).rejects.toMatchObject({ code: 'DOCKER_FAILED' })
    expect(await state(id)).toBe('running')
  })

  test('a stop can be given up by the caller', async () => {
    const id = await docker('run -d', 'sh', '-c', 'trap "" TERM; while :; do sleep 0.1; done')
    const reason = new Error('cancelled')
    const controller = new AbortController()
    const stopping = runtime.stop(id, 60, controller.signal)
    controller.abort(reason)
    await expect(stopping).rejects.toBe(reason)
  })
})

describe('pause', () => {
  test('and unpause, once, again and on the absent', async () => {
    const id = await docker('run -d', 'sleep', '1000')
    for (const _again of [1, 2]) await runtime.pause(id)
    expect(await state(id)).toBe('paused')
    expect(await runtime.capture(id, ['x'])).toMatchObject({ wasRunning: true, wasPaused: true })
    for (const _again of [1, 2]) await runtime.unpause(id)
    expect(await state(id)).toBe('running')
    await runtime.unpause('absent')
    await expect(runtime.pause('absent')).rejects.toMatchObject({ code: 'DOCKER_FAILED' })
  })
})

describe('names', () => {
  test('are found exactly', async () => {
    const id = await docker('create --name na.me --label a=b', 'true')
    await docker('create --name naxme', 'true')
    expect(await runtime.find('na.me')).toEqual({ id, state: 'created', labels: { a: 'b' } })
    expect(await runtime.find('na')).toBeNull()
    await runtime.rename(id, 'other-name')
    expect(await runtime.find('other-name')).toMatchObject({ id })
    await expect(runtime.rename(id, 'naxme')).rejects.toMatchObject({ code: 'DOCKER_FAILED' })
  })
})

describe('health', () => {
  test('is awaited, and an unhealthy one tells its last check', async () => {
    const check = ['--health-interval', '200ms', '--health-retries', '1', '--health-cmd']
    const good = await docker(['run -d', ...check, 'true'].join(' '), 'sleep', '1000')
    expect(await runtime.awaitHealthy(good, 20_000)).toBeNull()
    const bad = await engine.docker('run', '-d', ...check, 'echo no database; exit 1', 'busybox:test', 'sleep', '1000')
    onTestFinished(async () => void (await engine.docker('rm', '-f', bad)))
    expect(await runtime.awaitHealthy(bad, 3_000)).toMatch(/unhealthy after 3 s; .*exit status 1, no database/)
  })

  test('without a check is two seconds of running', async () => {
    const id = await docker('run -d', 'sleep', '1000')
    expect(await runtime.awaitHealthy(id, 20_000)).toBeNull()
  })

  test('of one that ends is its exit status, at once', async () => {
    const id = await docker('run -d', 'sh', '-c', 'exit 7')
    expect(await runtime.awaitHealthy(id, 600_000)).toMatch(/exit status 7/)
    const rm = await docker('run -d --rm', 'true')
    expect(await runtime.awaitHealthy(rm, 600_000)).toMatch(/removed|exit status 0/)
  })

  test('of a crash loop is never good', async () => {
    const id = await docker('run -d --restart always', 'sh', '-c', 'sleep 0.3; exit 1')
    expect(await runtime.awaitHealthy(id, 4_000)).toMatch(/restart|exit status 1/)
  })
})

describe('the address of a container', () => {
  test('that somebody asked for in vain before it started is known as soon as it runs', async () => {
    const { run } = engineExec(engine)
    const first = await docker('run -d --name n1', 'sleep', '1000')
    const address = await engine.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', first)
    await engine.docker('rm', '-f', first)
    const second = await docker('create --name n2', 'sleep', '1000')
    const neighbour = async () => (await run(['ip', 'neigh', 'show', address, 'dev', 'docker0'])).stdout
    await run(['ip', 'neigh', 'flush', 'to', address, 'dev', 'docker0'])
    await run(['ip', 'neigh', 'replace', address, 'dev', 'docker0', 'nud', 'incomplete'])
    await runtime.start(second)
    expect(await engine.docker('inspect', '-f', '{{.NetworkSettings.IPAddress}}', second)).toBe(address)
    expect(await neighbour()).toMatch(/lladdr \S+ REACHABLE/)
  })
})
