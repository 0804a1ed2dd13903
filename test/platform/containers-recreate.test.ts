import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createDockerRuntime } from '../../src/containers/docker-runtime.ts'
import type { ContainerRuntime } from '../../src/containers/runtime.ts'
import { moveId } from '../../src/domain/ids.ts'
import { systemClock } from '../../src/lib/clock.ts'
import { createExec } from '../../src/lib/exec.ts'
import { silentLogger } from '../../src/lib/logger.ts'
import { importBusybox, startEngine, type TestEngine } from '../support/engine.ts'
import { type RecordingPlugin, startRecordingPlugin } from '../support/recording-plugin.ts'

// Real engines, on a machine that may have other work.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 })

const move = moveId('01bx5zzkbkactav9wevgemmvs0')
const words = (text: string) => text.split(' ')

interface Host {
  readonly engine: TestEngine
  readonly plugin: RecordingPlugin
  readonly runtime: ContainerRuntime
}

let source: Host
let target: Host

const startHost = async (name: string, data?: string): Promise<Host> => {
  const engine = await startEngine(name)
  const plugin = await startRecordingPlugin(engine, { known: ['db'], ...(data === undefined ? {} : { data }) })
  const runtime = createDockerRuntime({
    socketPath: engine.socketPath,
    clock: systemClock,
    logger: silentLogger,
    exec: createExec(silentLogger),
  })
  return { engine, plugin, runtime }
}

beforeAll(async () => {
  source = await startHost('host1')
  // Both plugins serve one directory: to the engines it looks as if the volume had moved.
  target = await startHost('host2', join(source.engine.directory, 'volumes'))
  await importBusybox(source.engine)
  for (const { engine } of [source, target]) {
    await engine.docker('network', 'create', '--subnet', '10.77.0.0/24', 'backend')
    await engine.docker('network', 'create', 'front')
  }
}, 120_000)

afterAll(async () => {
  for (const host of [source, target]) {
    await host?.engine.stop()
    await host?.plugin.close()
  }
}, 60_000)

const shipImage = async (imageId: string, imageName: string): Promise<void> =>
  target.runtime.loadImage(await source.runtime.saveImage(imageId), imageId, imageName)

/** The parts of inspect that a user can set. */
const settings = async (engine: TestEngine, name: string) => {
  const { json } = await engine.api('GET', `/containers/${name}/json`)
  const inspected = json as { Config: Record<string, unknown>; HostConfig: Record<string, unknown> }
  return { config: inspected.Config, host: inspected.HostConfig }
}

describe('re-creation on another host', () => {
  test('ships an image: same id, same name, and takes no name away', async () => {
    const imageId = await source.engine.docker('image', 'inspect', '-f', '{{.Id}}', 'busybox:test')
    expect(await target.runtime.hasImage(imageId)).toBe(false)
    await shipImage(imageId, 'busybox:test')
    expect(await target.runtime.hasImage(imageId)).toBe(true)
    expect(await target.engine.docker('image', 'inspect', '-f', '{{.Id}}', 'busybox:test')).toBe(imageId)
    await shipImage(imageId, 'busybox:test')
    await expect(source.runtime.saveImage('nothing:here')).rejects.toMatchObject({ code: 'DOCKER_FAILED' })
  })

  test('a broken stream is the error of the load, and nothing is tagged', async () => {
    const tar = await source.runtime.saveImage('busybox:test')
    const { Readable } = await import('node:stream')
    const cut = Readable.from(
      (async function* () {
        for await (const chunk of tar) {
          yield chunk
          throw new Error('the link was cut')
        }
      })(),
    )
    await expect(target.runtime.loadImage(cut, `sha256:${'0'.repeat(64)}`, 'cut:1')).rejects.toThrow('the link was cut')
    expect(await target.runtime.hasImage('cut:1')).toBe(false)
  })

  test('carries everything that was set, without copy-up and without a Mount at create', async () => {
    const given =
      'run -d --name rich --hostname dbhost --domainname ex.org -u 0:8 -w /tmp -e A=b --label x=y -p 127.0.0.1:15432:5432 -p 5433 --network backend --ip 10.77.0.9 --network-alias pg --restart on-failure:3 --health-cmd true --health-interval 1s -m 64m --cpus 0.5 --ulimit nofile=100:200 --cap-add SYS_TIME --cap-drop MKNOD --security-opt no-new-privileges --device /dev/null:/dev/foo --log-opt max-size=1m --tmpfs /scratch:size=1m --shm-size 16m --init --stop-signal SIGKILL --stop-timeout 3 -v db:/data --volume-driver drover -v /etc:/conf:ro --sysctl net.ipv4.ip_forward=1 --add-host h:1.2.3.4 --dns 1.1.1.1 --read-only busybox:test sleep 1000'
    const id = await source.engine.docker(...words(given))
    await source.engine.docker('network', 'connect', '--alias', 'second', 'front', 'rich')
    await rm(join(source.plugin.directory('db'), 'seed'), { force: true })
    const before = await settings(source.engine, 'rich')
    const spec = await source.runtime.capture(id, ['db'])
    await source.runtime.disarm(id)
    await source.runtime.stop(id, spec.stopTimeoutS)

    expect(await target.runtime.checkCarry([spec], [], move)).toEqual([])
    target.plugin.calls.length = 0
    const made = await target.runtime.create(spec, 'drover-made', move, [])
    expect(await target.runtime.create(spec, 'drover-made', move, [])).toBe(made)
    expect(target.plugin.calls.filter((call) => call.startsWith('Mount'))).toEqual([])
    expect(await readdir(target.plugin.directory('db'))).toEqual([])
    expect(await target.runtime.madeByMoves()).toEqual([
      { id: made, name: 'drover-made', moveId: move, neverStarted: true },
    ])

    await target.runtime.rename(made, 'rich')
    await target.runtime.rename(made, 'rich')
    await target.runtime.rearm(made, spec.restartPolicy)
    await target.runtime.start(made)
    await target.runtime.start(made)
    expect(await target.runtime.awaitHealthy(made, 30_000)).toBeNull()
    expect(await readdir(target.plugin.directory('db'))).toEqual([])

    const after = await settings(target.engine, 'rich')
    expect(after.config).toEqual({
      ...before.config,
      Labels: { x: 'y', 'drover.move': move },
      Volumes: before.config.Volumes ?? after.config.Volumes,
    })
    expect(after.host).toEqual({
      ...before.host,
      // Docker's client sends them in no order of its own.
      Binds: expect.toSatisfy((binds: string[]) => binds.toSorted().join() === '/etc:/conf:ro,db:/data:nocopy'),
      Mounts: after.host.Mounts,
      BlkioWeightDevice: after.host.BlkioWeightDevice,
    })
    const moved = await target.runtime.capture(made, ['db'])
    expect(moved.extraNetworks).toEqual(spec.extraNetworks)
    expect(moved.create.NetworkingConfig).toEqual(spec.create.NetworkingConfig)
    expect(moved.create.Labels).toEqual({ x: 'y' })

    // And back: the copy is captured like any other container.
    await target.runtime.disarm(made)
    await target.runtime.stop(made, 1)
    await source.runtime.remove(id)
    const back = await source.runtime.create(moved, 'rich', moveId('01bx5zzkbkactav9wevgemmvs1'), [])
    expect((await settings(source.engine, 'rich')).host.Binds).toEqual(after.host.Binds)
    await source.runtime.remove(back)
    await target.runtime.remove(made)
  })

  test('an engine makes a Mount at create where it may copy up: what nocopy saves us from', async () => {
    target.plugin.calls.length = 0
    await target.engine.docker(...words('create --name copies -v db:/data --volume-driver drover busybox:test true'))
    expect(target.plugin.calls).toContain('Mount db')
    await target.engine.docker('rm', 'copies')
    await rm(join(target.plugin.directory('db'), 'seed'), { force: true })
  })

  test('never makes a container on an empty local volume of the same name', async () => {
    const id = await source.engine.docker(...words('create --name lone -v db:/data busybox:test sleep 1000'))
    const spec = await source.runtime.capture(id, ['db'])
    // An engine that has never asked the plugin would take the plain name for a local volume.
    const { engine } = target
    await engine.docker('volume', 'create', 'elsewhere')
    const asLocal = { ...spec, volumeName: 'elsewhere' }
    await expect(target.runtime.create(asLocal, 'lone', move, [])).rejects.toMatchObject({ code: 'DOCKER_FAILED' })
    expect(await target.runtime.find('lone')).toBeNull()
    expect((await target.runtime.checkCarry([asLocal], []))[0]?.what).toMatch(/named elsewhere, of driver local/)
    await source.runtime.remove(id)
  })

  test('refuses a name that another container has', async () => {
    const id = await source.engine.docker(...words('create --name taken -v db:/data busybox:test true'))
    const spec = await source.runtime.capture(id, ['db'])
    await target.engine.docker('create', '--name', 'taken', 'busybox:test', 'true')
    await expect(target.runtime.create(spec, 'taken', move, [])).rejects.toThrow(/has that name/)
    const problems = await target.runtime.checkCarry([spec], [])
    expect(problems.map(({ what }) => what)).toEqual([expect.stringMatching(/name is taken/)])
    await target.engine.docker('rm', 'taken')
    await source.runtime.remove(id)
  })

  test('finds taken ports, missing paths and missing networks on the real host', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    const bind = join(source.engine.directory, 'only-here')
    await mkdir(bind)
    await writeFile(join(bind, 'file'), '')
    await source.engine.docker('network', 'create', 'lonely')
    const id = await source.engine.docker(
      ...words(`create --name needy -v db:/data -v ${bind}:/bind --network lonely -p 127.0.0.1:${port}:80`),
      'busybox:test',
      'true',
    )
    const spec = await source.runtime.capture(id, ['db'])
    await rm(bind, { recursive: true })
    try {
      const problems = await target.runtime.checkCarry([spec], [])
      expect(problems.map(({ what }) => what).sort()).toEqual([
        expect.stringMatching(/on the network lonely/),
        expect.stringMatching(new RegExp(`port 127.0.0.1:${port}/tcp, which a process`)),
        expect.stringMatching(/bind mount at \/bind needs/),
      ])
    } finally {
      await new Promise((resolve) => server.close(resolve))
    }
    const left = await target.runtime.checkCarry([spec], ['/bind'])
    expect(left.map(({ what }) => what)).toEqual([expect.stringMatching(/lonely/)])
    await target.engine.docker('network', 'create', 'lonely')
    const made = await target.runtime.create(spec, 'needy', move, ['/bind'])
    expect((await target.runtime.capture(made, ['db'])).bindMounts).toEqual([])
    await target.runtime.remove(made)
    await source.runtime.remove(id)
  })
})
