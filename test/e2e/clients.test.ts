import { mkdirSync, writeFileSync } from 'node:fs'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import { clearHosts, expectRefusal, inspect, inVolume, volumeMounts } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** The other clients of the plugin that Debian 12 has: docker-compose 1.29, podman 4.3, a Swarm of one host. */
const shared = useLab('clients', { poolBytes: 2 * 2 ** 30 })
afterEach(() => clearHosts(shared))

const volumes = async (): Promise<string[]> => {
  const rows: { name: string }[] = JSON.parse(await shared.host1.vol('--json', 'ls'))
  return rows.map(({ name }) => name)
}

describe('docker-compose', () => {
  const file = (size: string) => `version: "3.7"
services:
  web:
    image: busybox
    command: sh -c "trap 'exit 0' TERM; echo started >>/d/log; echo started >>/e/log; while :; do sleep 0.1; done"
    volumes: ["data:/d", "outside:/e"]
volumes:
  data: {driver: drover, driver_opts: {size: ${size}}}
  outside: {external: true}
`
  const write = (size: string) => {
    mkdirSync(shared.host1.path('/srv/app'), { recursive: true })
    writeFileSync(shared.host1.path('/srv/app/docker-compose.yml'), file(size))
  }
  const argv = (...args: string[]) => ['docker-compose', '--file', '/srv/app/docker-compose.yml', ...args]
  const compose = (...args: string[]) => shared.host1.exec(argv(...args))

  it('makes, keeps and removes volumes; an external one it leaves', async () => {
    const { host1 } = shared
    write('64M')
    const missing = await host1.tryExec(argv('up', '--detach'))
    expect(missing).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('declared as external') })
    await host1.docker('volume', 'create', '--driver', 'drover', 'outside')

    await compose('up', '--detach')
    expect(await volumes()).toEqual(['app_data', 'outside'])
    expect(await inspect(host1, 'app_data')).toMatchObject({ sizeBytes: 64 * 2 ** 20, owner: 'host1' })
    await compose('up', '--detach', '--force-recreate')
    await compose('down')
    expect(await volumes()).toEqual(['app_data', 'outside'])
    expect(await volumeMounts(host1)).toEqual([])

    // Other options for a volume that exists are refused, and it stays as it is.
    write('128M')
    const changed = await host1.tryExec(argv('up', '--detach'))
    expect(changed).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('different "size" driver_opt') })
    expect(await inspect(host1, 'app_data')).toMatchObject({ sizeBytes: 64 * 2 ** 20 })
    write('64M')

    await compose('up', '--detach')
    expect((await compose('exec', '-T', 'web', 'cat', '/d/log')).stdout).toBe('started\n'.repeat(3))
    await compose('down', '--volumes')
    expect(await volumes()).toEqual(['outside'])
    expect(await inVolume(host1, 'outside', 'cat /d/log')).toBe('started\n'.repeat(3).trim())
    await host1.docker('volume', 'rm', 'outside')
  })
})

describe('podman', () => {
  const podman = async (...args: string[]) => (await shared.host1.exec(['podman', ...args])).stdout.trim()
  const run = (name: string, ...rest: string[]) => podman('run', '--network', 'host', '--volume', `${name}:/d`, ...rest)

  beforeAll(async () => {
    const { host1 } = shared
    const sockets = '[engine]\n[engine.volume_plugins]\ndrover = "/run/docker/plugins/drover.sock"\n'
    await host1.exec(['sh', '-c', 'mkdir -p /etc/containers; cat >/etc/containers/containers.conf'], { input: sockets })
    await host1.exec(['sh', '-c', 'docker save busybox -o /srv/busybox.tar && podman load -q -i /srv/busybox.tar'])
  })

  it('makes, uses and removes volumes over the same socket, beside docker', async () => {
    const { host1 } = shared
    await podman('volume', 'create', '--driver', 'drover', '--opt', 'size=64M', 'shared')
    expect(await inspect(host1, 'shared')).toMatchObject({ sizeBytes: 64 * 2 ** 20, owner: 'host1' })
    const mounted = '{{.Mountpoint}}'
    expect(await podman('volume', 'inspect', '--format', mounted, 'shared')).toBe('')

    // podman has one constant mount id for all its containers: the first to end must not unmount for the second.
    const loop = 'trap "exit 0" TERM; echo of-podman >/d/file; while :; do echo x >>/d/log; sleep 0.05; done'
    await run('shared', '--detach', '--name', 'one', 'busybox', 'sh', '-c', loop)
    await until('podman to write', async () =>
      (await run('shared', '--rm', 'busybox', 'ls', '/d')).includes('log') ? true : null,
    )
    expect(await inVolume(host1, 'shared', 'cat /d/file; echo of-docker >/d/other')).toBe('of-podman')
    expect(await run('shared', '--rm', 'busybox', 'cat', '/d/other')).toBe('of-docker')
    expect(await volumeMounts(host1)).toHaveLength(1)
    expect(await podman('exec', 'one', 'cat', '/d/other')).toBe('of-docker')

    expectRefusal(
      await host1.tryVol('rm', '--force', 'shared'),
      4,
      'VOLUME_IN_USE',
      /volume shared is in use on host host1/,
    )
    const elsewhere = await shared.host2.tryDocker(
      'run',
      '--rm',
      '-v',
      'shared:/d',
      '--volume-driver',
      'drover',
      'busybox',
      'true',
    )
    expect(elsewhere).toMatchObject({ exitCode: 125, stderr: expect.stringContaining('is in use on host host1') })

    await podman('rm', '--force', '--time', '5', 'one')
    expect(await volumeMounts(host1)).toEqual([])
    await podman('volume', 'rm', 'shared')
    expect(await volumes()).toEqual([])
  })

  it('hears of what is refused', async () => {
    const { host1 } = shared
    const create = ['podman', 'volume', 'create', '--driver', 'drover']
    const option = await host1.tryExec([...create, '--opt', 'sice=64M', 'unmade'])
    expect(option).toMatchObject({ exitCode: 125, stderr: expect.stringContaining('UNKNOWN_OPTION: option "sice"') })
    expect(await volumes()).toEqual([])
    expect(await podman('volume', 'ls', '--quiet')).toBe('')
  })
})

describe('a Swarm of one host', () => {
  it('runs, updates and removes a service with a volume, and leaves the volume', async () => {
    const { host1 } = shared
    await host1.docker('swarm', 'init', '--advertise-addr', '127.0.0.1')
    // The scheduler sees a plugin once it is active: a listing does that.
    await host1.docker('volume', 'ls')
    const mount = 'type=volume,source=served,target=/d,volume-driver=drover'
    const loop = 'trap "exit 0" TERM; echo started >>/d/log; while :; do sleep 0.1; done'
    const started = (times: number) =>
      until(`start ${times} of the task`, async () => {
        const id = await host1.docker('ps', '--quiet', '--filter', 'label=com.docker.swarm.service.name=svc')
        if (id === '' || id.includes('\n')) return null
        const log = await host1.tryDocker('exec', id, 'cat', '/d/log')
        return log.stdout === 'started\n'.repeat(times) ? true : null
      })
    await host1.docker('service', 'create', '--detach', '--name', 'svc', '--mount', mount, 'busybox', 'sh', '-c', loop)
    await started(1)
    expect(await inspect(host1, 'served')).toMatchObject({ owner: 'host1', mounted: true })
    await host1.docker('service', 'update', '--detach', '--env-add', 'A=1', 'svc')
    await started(2)

    // Its tasks are Swarm's to place: a move names that before anything is touched.
    const moved = await host1.tryVol('move', 'served', '--to', 'host2')
    expectRefusal(moved, 4, 'CANNOT_CARRY', /[Ss]warm/)

    await host1.docker('service', 'rm', 'svc')
    await until('the tasks to end', async () => ((await host1.docker('ps', '--all', '--quiet')) === '' ? true : null))
    expect(await inVolume(host1, 'served', 'cat /d/log')).toBe('started\nstarted')
    await host1.docker('volume', 'rm', 'served')
    await host1.docker('swarm', 'leave', '--force')
    expect(await volumeMounts(host1)).toEqual([])
  })
})
