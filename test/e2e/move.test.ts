import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'

interface MoveJson {
  id: string
  state: string
  totalBytes: number
  rounds: { bytes: number; base: string | null }[]
  downtimeMs: number | null
  error: { code: string; message: string } | null
}

describe('vol move between two Docker hosts', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await Lab.up({ name: 'move', hosts: 2, subnet: '10.78.3', poolBytes: 3 * 2 ** 30, images: ['busybox'] })
  }, 180_000)
  afterAll(async () => {
    await lab?.down()
  }, 60_000)

  const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
    JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

  const drover = (name: string, path = '/data') => ['-v', `${name}:${path}`, '--volume-driver', 'drover']

  const sumOf = (host: LabHost, container: string) =>
    host.docker('exec', container, 'sh', '-c', 'cd /data && find . -type f | sort | xargs sha256sum | sha256sum')

  it('carries the container as it was, and the way back ships only what changed', async () => {
    const { host1, host2 } = lab
    for (const host of lab.hosts) await host.docker('network', 'create', 'app')
    await host1.docker(
      'run',
      '-d',
      '--name',
      'carried',
      ...drover('carried'),
      '--network',
      'app',
      '-p',
      '18080:80',
      '-e',
      'COLOUR=blue',
      '--label',
      'team=a',
      '--restart',
      'unless-stopped',
      '--memory',
      '64m',
      '--stop-timeout',
      '3',
      '--health-cmd',
      'true',
      '--health-interval',
      '1s',
      '--workdir',
      '/data',
      'busybox',
      'sh',
      '-c',
      'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done',
    )
    await host1.docker(
      'exec',
      'carried',
      'sh',
      '-c',
      'dd if=/dev/urandom of=/data/big bs=1M count=64; mkdir /data/d; ln /data/big /data/d/link; chmod 4755 /data/d',
    )
    const settings = (host: LabHost) =>
      host.docker(
        'inspect',
        '--format',
        '{{json .Config.Env}} {{json .Config.Cmd}} {{.Config.WorkingDir}} {{.HostConfig.Memory}} {{json .HostConfig.PortBindings}} {{.HostConfig.RestartPolicy.Name}} {{json .Config.Healthcheck}} {{.HostConfig.NetworkMode}} {{index .Config.Labels "team"}}',
        'carried',
      )
    const before = await settings(host1)
    const sum = await sumOf(host1, 'carried')

    const there = await move('carried', host2)
    expect(there).toMatchObject({ state: 'done', error: null })
    expect(there.totalBytes).toBeGreaterThan(64 * 2 ** 20)
    expect(there.downtimeMs).toBeGreaterThan(0)
    expect(await settings(host2)).toBe(before)
    expect(await sumOf(host2, 'carried')).toBe(sum)
    expect(await host2.docker('exec', 'carried', 'stat', '-c', '%a %h', '/data/d', '/data/big')).toBe('4755 1\n644 2')
    expect(await host1.docker('ps', '-aq')).toBe('')

    await host2.docker('exec', 'carried', 'sh', '-c', 'echo new > /data/new')
    const back = await move('carried', host1)
    expect(back.state).toBe('done')
    expect(back.totalBytes).toBeLessThan(2 ** 20)
    expect(back.rounds.every(({ base }) => base !== null)).toBe(true)
    expect(await host1.docker('exec', 'carried', 'cat', '/data/new')).toBe('new')
    await host1.docker('rm', '-f', 'carried')
  }, 120_000)

  it('loses no acknowledged write with pause, and the paused writer never runs again on the source', async () => {
    const { host1, host2 } = lab
    const writer = 'n=0; while :; do n=$((n+1)); echo $n >> /data/log; sync /data/log; echo $n; done'
    await host1.docker('run', '-d', '--name', 'paused', ...drover('paused'), 'busybox', 'sh', '-c', writer)
    await sleep(1000)
    const acknowledgements = host1.spawn(['docker', 'logs', '-f', 'paused'], ['ignore', 'pipe', 'ignore'])
    let output = ''
    acknowledgements.stdout?.on('data', (chunk) => {
      output += chunk
    })
    const closed = new Promise((resolve) => acknowledgements.once('close', resolve))
    expect((await move('paused', host2, '--quiesce', 'pause')).state).toBe('done')
    await closed
    const acknowledged = Math.max(...output.trim().split('\n').map(Number))
    const log = (await host2.docker('exec', 'paused', 'cat', '/data/log')).split('\n').map(Number)
    // The writer counts from 1 again on the target, after all that it wrote on the source.
    const restart = log.indexOf(1, 1)
    expect(log.slice(0, restart)).toEqual(Array.from({ length: restart }, (_, index) => index + 1))
    expect(restart).toBeGreaterThanOrEqual(acknowledged)
    await host2.docker('rm', '-f', 'paused')
  }, 120_000)

  it('re-creates a --rm container and ships an image that the target lacks', async () => {
    const { host1, host2 } = lab
    await host1.docker('tag', 'busybox', 'only-here:1')
    await host2.tryDocker('rmi', '-f', 'busybox')
    await host1.docker(
      'run',
      '-d',
      '--rm',
      '--name',
      'fleeting',
      ...drover('fleeting'),
      'only-here:1',
      'sh',
      '-c',
      'trap "exit 0" TERM; date > /data/f; while :; do sleep 1 & wait $!; done',
    )
    await sleep(500)
    expect((await move('fleeting', host2)).state).toBe('done')
    expect(await host2.docker('ps', '--format', '{{.Names}} {{.Image}}')).toBe('fleeting only-here:1')
    expect(await host2.docker('inspect', '--format', '{{.HostConfig.AutoRemove}}', 'fleeting')).toBe('true')
    await host2.docker('rm', '-f', 'fleeting')
    await lab.load('busybox')
  }, 120_000)

  it('--dry-run tells figures and touches nothing', async () => {
    await lab.host1.vol('create', 'dry', '--size', '1G')
    const before = await lab.host1.vol('--json', 'inspect', 'dry')
    const plan = JSON.parse(await lab.host1.vol('--json', 'move', 'dry', '--to', 'host2', '--dry-run'))
    expect(plan).toMatchObject({ from: 'host1', to: 'host2', strategy: 'native-full' })
    expect(plan.forecast.ms).toBeGreaterThan(0)
    expect(await lab.host1.vol('--json', 'inspect', 'dry')).toBe(before)
    expect(await lab.host1.vol('--json', 'moves', '--volume', 'dry')).toMatch(/^\[\]|"items":\[\]/)
    await lab.host1.vol('rm', 'dry')
  }, 60_000)

  it('a cancelled move puts nothing out of place, and commit makes cancel too late', async () => {
    const { host1, host2 } = lab
    await host1.docker(
      'run',
      '-d',
      '--name',
      'kept',
      ...drover('kept'),
      'busybox',
      'sh',
      '-c',
      'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done',
    )
    await host1.docker('exec', 'kept', 'dd', 'if=/dev/urandom', 'of=/data/big', 'bs=1M', 'count=64')
    const sum = await sumOf(host1, 'kept')
    const { id } = JSON.parse(await host1.vol('--json', 'move', 'kept', '--to', 'host2', '--bwlimit', '8M', '--detach'))
    await sleep(1500)
    await host1.vol('cancel', id)
    let state = ''
    for (let tries = 0; tries < 100 && state !== 'aborted'; tries += 1) {
      state = JSON.parse(await host1.vol('--json', 'move-status', id)).state
      await sleep(100)
    }
    expect(state).toBe('aborted')
    expect(await sumOf(host1, 'kept')).toBe(sum)
    for (let tries = 0; tries < 50 && (await host2.docker('ps', '-aq')) !== ''; tries += 1) await sleep(200)
    expect(await host2.docker('ps', '-aq')).toBe('')
    const left = JSON.parse(await host1.vol('--json', 'inspect', 'kept'))
    expect(left).toMatchObject({ owner: 'host1', replicas: [], partials: [], snapshots: [], move: null })

    const done = await move('kept', host2)
    const late = await host1.tryVol('cancel', done.id)
    expect(late.exitCode).toBe(4)
    expect(late.stderr).toMatch(/^vol: TOO_LATE: /)
    await host2.docker('rm', '-f', 'kept')
  }, 120_000)

  it('--max-downtime that cannot be kept stops the move with the figures before the writer is touched', async () => {
    const { host1 } = lab
    await host1.docker(
      'run',
      '-d',
      '--name',
      'hurried',
      ...drover('hurried'),
      'busybox',
      'sh',
      '-c',
      'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done',
    )
    const started = await host1.docker('inspect', '--format', '{{.State.StartedAt}}', 'hurried')
    const refused = await host1.tryVol('move', 'hurried', '--to', 'host2', '--max-downtime', '10ms')
    expect(refused.exitCode).toBe(1)
    expect(refused.stderr).toMatch(/vol: DOWNTIME_EXCEEDED: .*\d+ ms.*10 ms/)
    expect(await host1.docker('inspect', '--format', '{{.State.StartedAt}}', 'hurried')).toBe(started)
    await host1.docker('rm', '-f', 'hurried')
  }, 60_000)

  it('--containers refuse and stop', async () => {
    const { host1, host2 } = lab
    await host1.docker(
      'run',
      '-d',
      '--name',
      'staying',
      '--restart',
      'always',
      ...drover('staying'),
      'busybox',
      'sh',
      '-c',
      'trap "exit 0" TERM; while :; do sleep 1 & wait $!; done',
    )
    const refused = await host1.tryVol('move', 'staying', '--to', 'host2', '--containers', 'refuse')
    expect(refused.exitCode).toBe(4)
    expect(refused.stderr).toMatch(/^vol: VOLUME_IN_USE: .*host1.*staying/)
    expect((await move('staying', host2, '--containers', 'stop')).state).toBe('done')
    expect(await host2.docker('ps', '-aq')).toBe('')
    expect(
      await host1.docker('inspect', '--format', '{{.State.Running}} {{.HostConfig.RestartPolicy.Name}}', 'staying'),
    ).toBe('false no')
    await host1.docker('rm', '-f', 'staying')
  }, 60_000)
})
