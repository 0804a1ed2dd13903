import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Lab } from '../../lab/lab.ts'

/** What two real daemons make of init, join, tokens and --adopt; the wire's own refusals are in test/unit/cluster. */
describe('hosts become a cluster', () => {
  let lab: Lab
  beforeAll(async () => {
    lab = await Lab.up({ name: 'cluster', hosts: 2, subnet: '10.78.2', poolBytes: 2 ** 30, vold: false })
    for (const host of lab.hosts) await host.startVold(['--pool', 'btrfs:/srv/pool'])
  }, 120_000)
  afterAll(async () => {
    await lab?.down()
  }, 60_000)

  const joinLine = async (): Promise<string[]> => {
    const line = (await lab.host1.vol('init')).split('\n').find((text) => text.startsWith('vol join '))
    return line?.split(' ').slice(1) ?? []
  }

  it('a fresh vold is a one-host cluster that serves volumes', async () => {
    await lab.host2.docker(
      'run',
      '--rm',
      '-v',
      'kept:/data',
      '--volume-driver',
      'drover',
      'busybox',
      'sh',
      '-c',
      'echo mine > /data/f',
    )
    expect(await lab.host2.vol('ls')).toMatch(/^kept +host2 /m)
  }, 60_000)

  it('joining with volumes needs --adopt; without it nothing changes and the token stays good', async () => {
    const join = await joinLine()
    const refused = await lab.host2.tryVol(...join)
    expect(refused.exitCode).toBe(4)
    expect(refused.stderr).toMatch(/^vol: ADOPT_NEEDED: .*kept.*--adopt/)
    expect(await lab.host2.vol('hosts')).toMatch(/^host2 /m)
    expect(await lab.host1.vol('hosts')).not.toMatch(/host2/)
  }, 60_000)

  it('a name that is taken is listed before anything is touched', async () => {
    await lab.host1.vol('create', 'kept')
    const refused = await lab.host2.tryVol(...(await joinLine()), '--adopt')
    expect(refused.exitCode).toBe(4)
    expect(refused.stderr).toMatch(/^vol: VOLUME_EXISTS: .*kept/)
    expect(
      await lab.host2.docker(
        'run',
        '--rm',
        '-v',
        'kept:/data',
        '--volume-driver',
        'drover',
        'busybox',
        'cat',
        '/data/f',
      ),
    ).toBe('mine')
    await lab.host1.vol('rm', 'kept')
  }, 60_000)

  it('--adopt brings the volume along, and it moves', async () => {
    await lab.host2.vol(...(await joinLine()), '--adopt')
    expect(await lab.host1.vol('ls')).toMatch(/^kept +host2 /m)
    expect(
      await lab.host2.docker(
        'run',
        '--rm',
        '-v',
        'kept:/data',
        '--volume-driver',
        'drover',
        'busybox',
        'cat',
        '/data/f',
      ),
    ).toBe('mine')
    expect(
      await lab.host1.docker(
        'run',
        '--rm',
        '-v',
        'kept:/data',
        '--volume-driver',
        'drover',
        'busybox',
        'cat',
        '/data/f',
      ),
    ).toBe('mine')
    expect(await lab.host1.vol('ls')).toMatch(/^kept +host1 /m)
  }, 90_000)

  it('a host that joins again stays who it is; a token serves once', async () => {
    const before = await lab.host1.vol('--json', 'hosts')
    const line = await joinLine()
    await lab.host2.vol(...line)
    const ids = (text: string) => JSON.parse(text).map(({ id }: { id: string }) => id)
    expect(ids(await lab.host1.vol('--json', 'hosts'))).toEqual(ids(before))
    const again = await lab.host2.tryVol(...line)
    expect(again.exitCode).toBe(1)
    expect(again.stderr).toMatch(/^vol: TOKEN_INVALID: /)
  }, 60_000)

  it('a second vold on the data directory is refused, naming the first', async () => {
    const second = await lab.host1.tryExec(['vold', '--pool', 'btrfs:/srv/pool'])
    expect(second.exitCode).toBe(4)
    expect(second.stderr).toMatch(/^vold: ALREADY_RUNNING: .*pid \d+/)
  }, 60_000)

  it('a taken port is named', async () => {
    const second = await lab.host1.tryExec([
      'vold',
      '--data-dir',
      '/srv/other',
      '--run-dir',
      '/run/other',
      '--pool',
      'btrfs:/srv/pool',
    ])
    expect(second.exitCode).toBe(4)
    expect(second.stderr).toMatch(/^vold: ADDRESS_TAKEN: .*746[01]/)
  }, 60_000)
})
