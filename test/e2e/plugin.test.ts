import { mkdirSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import {
  clearHosts,
  expectRefusal,
  goesOn,
  inspect,
  inVolume,
  lastNumber,
  mountpointOf,
  pluginCall,
  startWriter,
  volumeMounts,
  worldOf,
} from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'
import { type RecordingPlugin, startRecordingPlugin } from '../support/recording-plugin.ts'

/** The volume plugin under real engines: what `docker` does with volumes on one host, and between two. */
const shared = useLab('plugin', { poolBytes: 3 * 2 ** 30 })
afterEach(() => clearHosts(shared))

describe('a volume on one host', () => {
  it('is made, mounted at a path of its own, unmounted and removed by docker', async () => {
    const { host1 } = shared
    expect(await inVolume(host1, 'first', 'echo kept >/d/file; grep " /d " /proc/mounts')).toContain(' /d btrfs rw')
    expect(await host1.docker('volume', 'ls', '--format', '{{.Driver}} {{.Name}}')).toBe('drover first')
    expect(await host1.docker('volume', 'inspect', '--format', '{{.Driver}} {{.Scope}}', 'first')).toBe('drover global')
    expect(await inVolume(host1, 'first', 'cat /d/file')).toBe('kept')
    expect(await mountpointOf(host1, 'first')).toBe('')
    expect(await volumeMounts(host1)).toEqual([])

    await startWriter(host1, 'holder', 'first')
    const { id } = await inspect(host1, 'first')
    expect(await mountpointOf(host1, 'first')).toBe(`/var/lib/drover/mnt/${id}/data`)
    expect((await host1.exec(['cat', `/var/lib/drover/mnt/${id}/data/file`])).stdout).toBe('kept\n')
    expect(await volumeMounts(host1)).toEqual([`/var/lib/drover/mnt/${id}`])
    const busy = await host1.tryDocker('volume', 'rm', 'first')
    expect(busy).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('volume is in use') })

    await host1.docker('rm', '--force', 'holder')
    expect(await mountpointOf(host1, 'first')).toBe('')
    await host1.docker('volume', 'rm', 'first')
    expect(await host1.docker('volume', 'ls', '--quiet')).toBe('')
    expectRefusal(await host1.tryVol('inspect', 'first'), 3, 'NO_SUCH_VOLUME', /volume first does not exist/)
    expect(await volumeMounts(host1)).toEqual([])
  })

  it('is filled with what the image has there, owners and modes too, once', async () => {
    const { host1 } = shared
    const make =
      'mkdir -p /d/sub; echo from image >/d/sub/file; chown -R 65534:65534 /d; chmod 750 /d; chmod 600 /d/sub/file'
    await host1.docker('run', '--name', 'content', 'busybox', 'sh', '-c', make)
    await host1.docker('commit', 'content', 'content')
    await host1.docker('rm', 'content')
    const look = ['-v', 'filled:/d', '--volume-driver', 'drover', 'content', 'sh', '-c']
    const stat = 'cat /d/sub/file; stat -c "%u:%g %a" /d /d/sub/file; ls -A /d'
    const there = 'from image\n65534:65534 750\n65534:65534 600\nsub'
    expect(await host1.docker('run', '--rm', ...look, stat)).toBe(there)
    expect(await host1.docker('run', '--rm', ...look, 'echo changed >/d/sub/file')).toBe('')
    expect(await host1.docker('run', '--rm', ...look, stat)).toBe(there.replace('from image', 'changed'))
    await host1.docker('volume', 'rm', 'filled')
  })

  it('stops a writer at its size with an error, and what was written before is whole', async () => {
    const { host1 } = shared
    await host1.docker('volume', 'create', '--driver', 'drover', '-o', 'size=32M', 'small')
    await inVolume(
      host1,
      'small',
      'dd if=/dev/urandom of=/d/kept bs=1M count=16 conv=fsync; sha256sum /d/kept >/d/sum; sync',
    )
    const run = ['run', '--rm', '-v', 'small:/d', 'busybox', 'sh', '-c']
    const over = await host1.tryDocker(...run, 'dd if=/dev/urandom of=/d/over bs=1M count=64 conv=fsync')
    expect(over.exitCode).not.toBe(0)
    expect(over.stderr).toMatch(/quota exceeded|No space left/)
    expect(await inVolume(host1, 'small', 'sha256sum -c /d/sum && stat -c %s /d/kept')).toBe(
      `/d/kept: OK\n${16 * 2 ** 20}`,
    )
    expect((await inspect(host1, 'small')).sizeBytes).toBe(32 * 2 ** 20)
    // Other volumes of the pool have their room still.
    expect(
      await inVolume(host1, 'other', 'dd if=/dev/zero of=/d/x bs=1M count=64 conv=fsync 2>/dev/null && echo room'),
    ).toBe('room')
    await host1.docker('volume', 'rm', 'small', 'other')
  })

  it('survives docker cp to and from its running container, mounted', async () => {
    const { host1 } = shared
    await startWriter(host1, 'copied', 'copies')
    const mounts = await volumeMounts(host1)
    expect(mounts).toHaveLength(1)
    await host1.exec([
      'sh',
      '-c',
      'echo sent >/srv/sent; docker cp /srv/sent copied:/d/sent; docker cp copied:/d/sent /srv/back',
    ])
    expect((await host1.exec(['cat', '/srv/back'])).stdout).toBe('sent\n')
    expect(await volumeMounts(host1)).toEqual(mounts)
    await goesOn(host1, 'copied')
    expect(await inVolume(host1, 'copies', 'cat /d/sent')).toBe('sent')
    await goesOn(host1, 'copied')
    await host1.docker('rm', '--force', 'copied')
    await host1.docker('volume', 'rm', 'copies')
    expect(await volumeMounts(host1)).toEqual([])
  })
})

describe('what an engine passes on unchecked', () => {
  it.each([
    ['a path', '../../etc'],
    ['a slash', 'a/b'],
    ['a space', 'a b'],
    ['a NUL', 'a\0b'],
    ['300 characters', 'x'.repeat(300)],
    ['nothing', ''],
    ['a dash first', '-rf'],
  ])('%s is no name for a volume', async (_, name) => {
    const before = await worldOf(shared)
    for (const call of ['Create', 'Get', 'Mount', 'Unmount', 'Path', 'Remove']) {
      const answer = await pluginCall(shared.host1, `VolumeDriver.${call}`, {
        Name: name,
        Opts: null,
        ID: 'f'.repeat(64),
      })
      expect(answer.status, call).toBe(500)
      expect(JSON.parse(answer.text)).toEqual({
        Err: expect.stringMatching(/^BAD_NAME: volume name ".*" cannot be used; use /),
      })
    }
    expect(await worldOf(shared)).toEqual(before)
  })

  it('docker itself shows the refusal of a name and of an option', async () => {
    const { host1 } = shared
    const before = await worldOf(shared)
    const create = ['volume', 'create', '--driver', 'drover']
    const named = await host1.tryDocker(...create, '../../etc')
    expect(named).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('BAD_NAME') })
    const option = await host1.tryDocker(...create, '-o', 'sice=1G', 'unmade')
    expect(option).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('UNKNOWN_OPTION: option "sice"') })
    const pool = await host1.tryDocker(...create, '-o', 'pool=btrfs:/nowhere', 'unmade')
    expect(pool).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('NO_SUCH_POOL') })
    const size = await host1.tryDocker(...create, '-o', 'size=much', 'unmade')
    expect(size).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('BAD_SIZE') })
    expect(await worldOf(shared)).toEqual(before)
    expect(await host1.docker('volume', 'ls', '--quiet')).toBe('')
  })
})

describe('a volume between two hosts', () => {
  it.each([1, 2, 3])('made under one name on both at once, exactly one is made (%i)', async (round) => {
    const { host1, host2 } = shared
    const name = `twice-${round}`
    const create = ['volume', 'create', '--driver', 'drover']
    const [one, other] = await Promise.all([
      host1.tryDocker(...create, '-o', 'size=32M', name),
      host2.tryDocker(...create, '-o', 'size=64M', name),
    ])
    expect([one.exitCode, other.exitCode].sort(), `${one.stderr}${other.stderr}`).toEqual([0, 1])
    const won = one.exitCode === 0
    expect(won ? other.stderr : one.stderr).toContain('VOLUME_EXISTS')
    const made = { owner: won ? 'host1' : 'host2', sizeBytes: (won ? 32 : 64) * 2 ** 20 }
    expect(await inspect(host1, name)).toMatchObject({ ...made, replicas: [], partials: [] })
    expect((await worldOf(shared)).volumes.map((volume) => volume.name)).toEqual([name])
    await host2.docker('volume', 'rm', name)

    const [first, last] = await Promise.all([host1.tryVol('create', name), host2.tryVol('create', name)])
    const [done, refused] = first.exitCode === 0 ? [first, last] : [last, first]
    expect(done.exitCode).toBe(0)
    expectRefusal(refused, 4, 'VOLUME_EXISTS', new RegExp(`volume ${name} exists`))
    await host1.vol('rm', name)
  })

  it('goes to the host whose docker runs a container with it, while nobody uses it', async () => {
    const { host1, host2 } = shared
    await inVolume(host1, 'pulled', 'echo one >/d/file')
    expect(await inVolume(host2, 'pulled', 'cat /d/file; echo two >>/d/file')).toBe('one')
    expect(await inspect(host1, 'pulled')).toMatchObject({ owner: 'host2' })
    // A stopped container on the other host does not hold it.
    await host2.docker('create', '--name', 'stopped', '-v', 'pulled:/d', 'busybox', 'true')
    expect(await inVolume(host1, 'pulled', 'cat /d/file')).toBe('one\ntwo')
    expect(await inspect(host2, 'pulled')).toMatchObject({ owner: 'host1', partials: [], move: null })
    await host2.docker('rm', 'stopped')
    await host2.docker('volume', 'rm', 'pulled')
    expect((await worldOf(shared)).volumes).toEqual([])
  })

  it('is refused to another host at once while a container uses it, host and container named', async () => {
    const { host1, host2 } = shared
    await startWriter(host1, 'keeper', 'kept')
    for (const state of ['running', 'paused']) {
      if (state === 'paused') await host1.docker('pause', 'keeper')
      const refused = await host2.tryDocker(
        'run',
        '--rm',
        '-v',
        'kept:/d',
        '--volume-driver',
        'drover',
        'busybox',
        'true',
      )
      expect(refused.exitCode).toBe(125)
      expect(refused.stderr).toContain(
        `VOLUME_IN_USE: volume kept is in use on host host1 by container keeper (${state})`,
      )
    }
    await host1.docker('unpause', 'keeper')
    const removed = await host2.tryDocker('volume', 'rm', 'kept')
    expect(removed).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('host host1 by container keeper') })
    await goesOn(host1, 'keeper')
    expect(await inspect(host1, 'kept')).toMatchObject({ owner: 'host1', epoch: 1, replicas: [], partials: [] })
    const last = await lastNumber(host1, 'keeper')
    await host1.docker('rm', '--force', 'keeper')
    expect(Number(await inVolume(host2, 'kept', 'tail -n 1 /d/log'))).toBeGreaterThanOrEqual(last)
    await host2.docker('volume', 'rm', 'kept')
  })
})

// Last: once its plugin has gone, an engine waits 15 s for the second driver at each listing.
describe('beside other drivers', () => {
  let second: RecordingPlugin
  beforeAll(async () => {
    const { host1 } = shared
    mkdirSync(host1.path('/srv/second'))
    const engine = { directory: '/srv/second', pluginDirectory: host1.path('/run/docker/plugins') }
    second = await startRecordingPlugin(engine, { driver: 'second', reach: (path) => host1.path(path) })
  })
  afterAll(() => second?.close())

  it('one container has a volume of each of three drivers, and a network of its own', async () => {
    const { host1 } = shared
    await host1.docker('network', 'create', 'own')
    await host1.docker('volume', 'create', 'of-local')
    await host1.docker('volume', 'create', '--driver', 'second', 'of-second')
    await host1.docker('volume', 'create', '--driver', 'drover', 'of-drover')
    const mounts = ['of-local:/local', 'of-second:/second', 'of-drover:/d'].flatMap((mount) => ['-v', mount])
    const script = 'for d in local second d; do echo $d >/$d/file; done; exec sleep 1000'
    const options = ['--detach', '--init', '--name', 'three', '--network', 'own', ...mounts]
    await host1.docker('run', ...options, 'busybox', 'sh', '-c', script)
    const network = ['inspect', '--format', '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}', 'three']
    expect(await host1.docker(...network)).toBe('own')
    await host1.docker('rm', '--force', 'three')
    for (const [volume, text] of [
      ['of-local', 'local'],
      ['of-second', 'second'],
      ['of-drover', 'd'],
    ]) {
      expect(await host1.docker('run', '--rm', '-v', `${volume}:/d`, 'busybox', 'cat', '/d/file')).toBe(text)
    }
    expect(second.calls.filter((call) => call === 'Mount of-second')).toHaveLength(2)
    await host1.docker('volume', 'rm', 'of-local', 'of-second', 'of-drover')
    await host1.docker('network', 'rm', 'own')
    expect(await host1.docker('volume', 'ls', '--quiet')).toBe('')
  })
})
