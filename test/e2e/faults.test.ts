import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { ErrorCode } from '../../src/domain/errors.ts'
import {
  clearHosts,
  expectRefusal,
  goesOn,
  inspect,
  inVolume,
  lastNumber,
  startWriter,
  worldOf,
} from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'

/** Requests that cannot be granted: exit status and code of the table, one line, nothing changed, nothing left behind. */
const shared = useLab('faults', { hosts: 3, poolBytes: 2 ** 30 })
afterEach(async () => {
  for (const host of shared.lab.hosts) if (host.vold.process === null) await host.startVold()
  await clearHosts(shared)
})

/** The world before, `act`, and the same world after; the writer has gone on. */
const unchanged = async (act: () => Promise<void>, writer: string | null = 'writer'): Promise<void> => {
  const { host1 } = shared
  const started = writer === null ? '' : await host1.docker('inspect', '--format', '{{.State.StartedAt}}', writer)
  const before = await worldOf(shared)
  await act()
  expect(await worldOf(shared)).toEqual(before)
  if (writer === null) return
  expect(await host1.docker('inspect', '--format', '{{.State.StartedAt}}', writer)).toBe(started)
  await goesOn(host1, writer)
}

describe('what is asked for does not exist, or makes no sense', () => {
  const cases: [string, number, ErrorCode, RegExp][] = [
    [
      'move busy --to host9',
      3,
      'NO_SUCH_HOST',
      /host "host9" is not in the cluster; its hosts are host1, host2, host3$/m,
    ],
    ['move nothing --to host2', 3, 'NO_SUCH_VOLUME', /volume nothing does not exist/],
    [
      'move busy --to host2 --pool btrfs:/nowhere',
      3,
      'NO_SUCH_POOL',
      /host host2 has no pool btrfs:\/nowhere; it has btrfs:\/srv\/pool/,
    ],
    ['move busy --to host1', 4, 'MOVE_TO_ITSELF', /volume busy is on host host1 already/],
    ['move busy --to host2 --sideways', 2, 'BAD_REQUEST', /--sideways/],
    ['move busy', 2, 'BAD_REQUEST', /--to/],
    ['move ../../etc --to host2', 2, 'BAD_NAME', /cannot be used/],
    ['create unmade --host host9', 3, 'NO_SUCH_HOST', /host9/],
    ['create unmade --pool zfs:tank', 3, 'NO_SUCH_POOL', /host host1 has no pool zfs:tank/],
    ['create unmade --size many', 2, 'BAD_SIZE', /"many"/],
    ['create ../../etc', 2, 'BAD_NAME', /cannot be used/],
    [`create ${'x'.repeat(300)}`, 2, 'BAD_NAME', /cannot be used/],
    ['create busy', 4, 'VOLUME_EXISTS', /volume busy exists already, on host host1/],
    ['inspect nothing', 3, 'NO_SUCH_VOLUME', /nothing/],
    ['rm nothing', 3, 'NO_SUCH_VOLUME', /nothing/],
    ['rm busy', 4, 'VOLUME_IN_USE', /on host host1 by container writer \(running\)/],
    ['rm busy --force', 4, 'VOLUME_IN_USE', /on host host1 by container writer \(running\)/],
    ['resize nothing 1G', 3, 'NO_SUCH_VOLUME', /nothing/],
    ['resize busy none', 2, 'BAD_SIZE', /none/],
    ['move-status nothing', 3, 'NO_SUCH_MOVE', /nothing/],
    ['cancel nothing', 3, 'NO_SUCH_MOVE', /nothing/],
    ['host rm host9', 3, 'NO_SUCH_HOST', /host9/],
    ['init', 4, 'CLUSTER_EXISTS', /./],
    ['frobnicate', 2, 'BAD_REQUEST', /frobnicate/],
  ]

  it('is refused by name, from either host, and changes nothing', async () => {
    await startWriter(shared.host1, 'writer', 'busy')
    await unchanged(async () => {
      for (const [line, exit, code, says] of cases) {
        // host1 has a cluster with others, host2 has joined one.
        const host = line === 'init' ? shared.host2 : shared.host1
        expectRefusal(await host.tryVol(...line.split(' ')), exit, code, says)
      }
    })
    await unchanged(async () => {
      for (const [line, exit, code] of cases.slice(0, 4)) {
        const { stdout, stderr, exitCode } = await shared.host2.tryVol('--json', ...line.split(' '))
        const problem = JSON.parse(stdout === '' ? stderr : stdout)
        expect({ exitCode, code: problem.code }, line).toEqual({ exitCode: exit, code })
        expect(problem).toMatchObject({
          type: expect.any(String),
          title: expect.any(String),
          status: expect.any(Number),
        })
      }
    })
  })
})

describe('a move that cannot be', () => {
  it.each(['SIGTERM', 'SIGSTOP'] as const)('has a target whose vold is down (%s)', async (signal) => {
    const { host1, host2 } = shared
    await startWriter(host1, 'writer', 'busy')
    const before = await worldOf(shared)
    const vold = host2.vold.process
    if (signal === 'SIGTERM') await host2.stopVold()
    else process.kill(vold?.pid ?? 0, 'SIGSTOP')
    try {
      const refused = await host1.tryVol('move', 'busy', '--to', 'host2')
      expectRefusal(refused, 5, 'HOST_UNREACHABLE', /host2|10\.77\.0\.12/)
      await goesOn(host1, 'writer')
    } finally {
      if (signal === 'SIGTERM') await host2.startVold()
      else process.kill(vold?.pid ?? 0, 'SIGCONT')
    }
    expect(await worldOf(shared)).toEqual(before)
    // And nothing stands in the way of the same move now.
    await host1.vol('move', 'busy', '--to', 'host2')
    await goesOn(host2, 'writer')
  })

  it('has a container with a bind mount that the target lacks, until told to drop it', async () => {
    const { host1, host2 } = shared
    await host1.exec(['mkdir', '-p', '/srv/only-here'])
    await startWriter(host1, 'writer', 'bound', '--volume', '/srv/only-here:/extra')
    await unchanged(async () => {
      const refused = await host1.tryVol('move', 'bound', '--to', 'host2')
      expectRefusal(refused, 4, 'CANNOT_CARRY', /container writer: .*\/srv\/only-here.*--drop-mount/)
    })
    await host1.vol('move', 'bound', '--to', 'host2', '--drop-mount', '/extra')
    await goesOn(host2, 'writer')
    expect(await host2.docker('inspect', '--format', '{{range .Mounts}}{{.Destination}} {{end}}', 'writer')).toBe('/d')
  })

  it('has a container whose host port is taken on the target', async () => {
    const { host1, host2 } = shared
    await startWriter(host1, 'writer', 'served', '--publish', '8080:80')
    await host2.docker(
      'run',
      '--detach',
      '--name',
      'taker',
      '--publish',
      '8080:80',
      '--init',
      'busybox',
      'sleep',
      '1000',
    )
    await unchanged(async () => {
      const refused = await host1.tryVol('move', 'served', '--to', 'host2')
      expectRefusal(refused, 4, 'CANNOT_CARRY', /container writer: .*8080/)
    })
    await host2.docker('rm', '--force', 'taker')
    await host1.vol('move', 'served', '--to', 'host2')
    await goesOn(host2, 'writer')
  })

  it('has a container on a network that the target lacks, or with a volume of another driver', async () => {
    const { host1 } = shared
    await host1.docker('network', 'create', 'only-here')
    await startWriter(host1, 'writer', 'netted', '--network', 'only-here')
    await unchanged(async () => {
      const refused = await host1.tryVol('move', 'netted', '--to', 'host2')
      expectRefusal(refused, 4, 'CANNOT_CARRY', /container writer: .*only-here/)
    })
    await host1.docker('rm', '--force', 'writer')
    await host1.docker('network', 'rm', 'only-here')
    await startWriter(host1, 'writer', 'netted')
    await host1.docker('rm', '--force', 'writer')
    const mounts = ['-v', 'netted:/d', '-v', 'of-local:/local']
    await host1.docker('volume', 'create', 'of-local')
    await host1.docker('run', '-d', '--init', '--name', 'both', ...mounts, 'busybox', 'sleep', '1000')
    await unchanged(async () => {
      const refused = await host1.tryVol('move', 'netted', '--to', 'host2')
      expectRefusal(refused, 4, 'CANNOT_CARRY', /container both: .*of-local/)
    }, null)
  })
})

describe('a move that can', () => {
  beforeEach(() => startWriter(shared.host1, 'writer', 'wanted'))

  it('is the only one of its volume, whoever else asks', async () => {
    const { host1, host2, lab } = shared
    await inVolume(host1, 'wanted', 'dd if=/dev/urandom of=/d/file bs=1M count=100 conv=fsync 2>/dev/null')
    const asked = await Promise.all([
      host1.tryVol('move', 'wanted', '--to', 'host2'),
      host2.tryVol('move', 'wanted', '--to', 'host3'),
      host1.tryVol('move', 'wanted', '--to', 'host2'),
    ])
    const done = asked.filter(({ exitCode }) => exitCode === 0)
    expect(done, asked.map(({ stderr }) => stderr).join('')).toHaveLength(1)
    for (const refused of asked.filter((each) => each !== done[0])) {
      expectRefusal(refused, 4, 'MOVE_UNDER_WAY', /volume wanted is (being moved already|in move)/)
    }
    const { owner } = await inspect(host1, 'wanted')
    expect(['host2', 'host3']).toContain(owner)
    await goesOn(lab.host(String(owner)), 'writer')
    for (const host of lab.hosts.filter(({ name }) => name !== owner)) {
      expect(await host.docker('ps', '--all', '--quiet')).toBe('')
    }
    expect(await inspect(host1, 'wanted')).toMatchObject({ move: null, partials: [], containers: [{ name: 'writer' }] })
  })

  it('leaves the writer where it is with --dry-run, and tells figures', async () => {
    const { host1 } = shared
    await unchanged(async () => {
      const plan = JSON.parse(await host1.vol('--json', 'move', 'wanted', '--to', 'host2', '--dry-run'))
      expect(plan).toMatchObject({ from: 'host1', to: 'host2', strategy: 'native-full', base: null })
      expect(plan.forecast).toMatchObject({
        bytes: expect.any(Number),
        ms: expect.any(Number),
        downtimeMs: expect.any(Number),
      })
    })
  })

  it('takes a container along whose image has no shell', async () => {
    const { host1, host2 } = shared
    const last = await lastNumber(host1, 'writer')
    await host1.docker('rm', '--force', 'writer')
    // One program and its libraries, no more.
    const tree =
      'mkdir -p /srv/tree && for f in /usr/bin/sleep $(ldd /usr/bin/sleep | grep -o "/[^ ]*"); do cp -L --parents $f /srv/tree; done'
    await host1.exec([
      'sh',
      '-c',
      `${tree} && tar -C /srv/tree -c . | docker import --change 'ENTRYPOINT ["/usr/bin/sleep"]' - noshell`,
    ])
    const shell = await host1.tryDocker('run', '--rm', '--entrypoint', '/bin/sh', 'noshell')
    expect(shell.exitCode).toBe(127)
    await host1.docker('run', '-d', '--name', 'bare', '--stop-timeout', '1', '-v', 'wanted:/d', 'noshell', '100000')
    await host1.vol('move', 'wanted', '--to', 'host2')
    const state = () => host2.docker('inspect', '--format', '{{.State.Running}} {{.Config.Image}}', 'bare')
    expect(await until('the container', async () => (await state()) || null)).toBe('true noshell')
    expect(Number(await inVolume(host2, 'wanted', 'tail -n 1 /d/log'))).toBeGreaterThanOrEqual(last)
    expect((await inspect(host1, 'wanted')).owner).toBe('host2')
    expect(await host1.docker('ps', '--all', '--quiet')).toBe('')
  })
})
