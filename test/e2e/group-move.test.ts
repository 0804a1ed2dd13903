import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { expectRefusal } from '../support/e2e.ts'
import { watchPhases } from '../support/phase-watch.ts'

interface MoveJson {
  readonly id: string
  readonly volumeName: string
  readonly groupId: string
  readonly state: string
  readonly downtimeMs: number | null
  readonly error: { readonly code: string } | null
}

const indexes = [0, 1, 2, 3, 4, 5, 6, 7]
const names = indexes.map((index) => `part${index}`)

/**
 * One counter goes to eight volumes, one after the other, each synced: whatever is cut at a single point has every file at the count of the
 * one before it or one behind, the last no more than one behind the first. What a start of the writer finds is noted on the host.
 */
const writer = [
  'trap "exit 0" TERM; found=""',
  `for i in ${indexes.join(' ')}; do touch /v/$i/log; n=$(wc -l </v/$i/log); found="$found $n"; done; echo $found >>/acks/starts`,
  'first=1; while :; do n=$((n+1))',
  `for i in ${indexes.join(' ')}; do [ $first = 1 ] && [ $(wc -l </v/$i/log) -ge $n ] && continue; echo $n >>/v/$i/log; sync /v/$i/log; done`,
  'first=0; echo $n >/acks/done; sleep 0.01 & wait $!; done',
].join('; ')
const beside =
  'trap "exit 0" TERM; while :; do n=$((n+1)); echo $n >>/a/beside; sync /a/beside; echo $n >>/b/beside; sync /b/beside; sleep 0.1 & wait $!; done'

/** Eight volumes of one project, a container on all of them and another on two. */
describe('a group of volumes moves as one', () => {
  let lab: Lab
  const host = (name: string): LabHost => lab.host(name)
  const volume = ['--volume-driver', 'drover']

  beforeAll(async () => {
    lab = await Lab.up({ name: 'group', hosts: 3, subnet: '10.78.7', poolBytes: 2 * 2 ** 30, images: ['busybox'] })
    for (const each of lab.hosts) await each.exec(['mkdir', '-p', '/srv/acks'])
    const { docker } = { docker: host('host2').docker.bind(host('host2')) }
    for (const name of names) await docker('volume', 'create', '-d', 'drover', '-o', 'label=app=shop,tier=data', name)
    const mounts = names.flatMap((name, index) => ['-v', `${name}:/v/${index}`])
    const writes = ['busybox', 'sh', '-c', writer]
    await docker(
      'run',
      '-d',
      '--name',
      'writer',
      '--restart',
      'always',
      ...mounts,
      '-v',
      '/srv/acks:/acks',
      ...volume,
      ...writes,
    )
    const two = ['-v', 'part6:/a', '-v', 'part7:/b', ...volume]
    await docker('run', '-d', '--name', 'beside', ...two, 'busybox', 'sh', '-c', beside)
    await acknowledgesMore(host('host2'))
  }, 180_000)
  afterAll(async () => {
    await lab?.down()
  }, 60_000)

  const read = async (on: LabHost, path: string): Promise<string> => (await on.tryExec(['cat', path])).stdout.trim()
  const acknowledged = async (on: LabHost): Promise<number> => Number((await read(on, '/srv/acks/done')) || '0')
  const acknowledgesMore = async (on: LabHost): Promise<number> => {
    const before = await acknowledged(on)
    return until('the writer to write to all volumes', async () => {
      const now = await acknowledged(on)
      return now > before + 2 ? now : null
    })
  }
  const moves = async (): Promise<MoveJson[]> => JSON.parse(await host('host1').vol('--json', 'moves'))
  const owners = async (): Promise<string[]> => {
    const all: { name: string; owner: string }[] = JSON.parse(await host('host1').vol('--json', 'ls'))
    return [...new Set(all.filter(({ name }) => names.includes(name)).map(({ owner }) => owner))]
  }
  const runsOn = async (container: string): Promise<string[]> => {
    const found = lab.hosts.map(async (each) => {
      const running = await each.docker('ps', '--filter', 'status=running', '--format', '{{.Names}}')
      return running.split('\n').includes(container) ? [each.name] : []
    })
    return (await Promise.all(found)).flat()
  }
  const forgetStarts = async () => {
    for (const each of lab.hosts) await each.exec(['rm', '-f', '/srv/acks/starts'])
  }

  /** The group has ended, in one piece; its writers run where it is; every start found a single point, with all that was acknowledged before. */
  const check = async (before: number): Promise<LabHost> => {
    await until(
      'every move to end',
      async () => ((await moves()).every(({ state }) => ['done', 'aborted'].includes(state)) ? true : null),
      {
        timeoutMs: 90_000,
        intervalMs: 250,
      },
    )
    const [latest] = await moves()
    const members = (await moves()).filter(({ groupId }) => groupId === latest?.groupId)
    expect(members.map(({ volumeName }) => volumeName).toSorted()).toEqual(names)
    expect(new Set(members.map(({ state }) => state)).size).toBe(1)
    const [owner = '', ...others] = await owners()
    expect(others).toEqual([])
    for (const container of ['writer', 'beside']) {
      await until(`${container} to run`, async () => ((await runsOn(container)).includes(owner) ? true : null))
      expect(await runsOn(container)).toEqual([owner])
    }
    await acknowledgesMore(host(owner))
    for (const each of lab.hosts) {
      const starts = (await read(each, '/srv/acks/starts')).split('\n').filter((line) => line !== '')
      for (const counts of starts.map((line) => line.split(' ').map(Number))) {
        expect(counts.length).toBe(names.length)
        expect(counts, 'later files are never ahead').toEqual(counts.toSorted((one, other) => other - one))
        expect((counts[0] ?? 0) - (counts.at(-1) ?? 0), `one cut: ${counts}`).toBeLessThanOrEqual(1)
        expect(counts.at(-1), 'nothing acknowledged is missing').toBeGreaterThanOrEqual(before)
      }
    }
    const at = host(owner)
    for (const index of indexes) {
      const lines = (await at.docker('exec', 'writer', 'cat', `/v/${index}/log`)).split('\n').map(Number)
      expect(lines).toEqual(lines.map((_, line) => line + 1))
    }
    await until('nothing to be left of the moves', async () => {
      const left = lab.hosts.map(
        async (each) => (await each.exec(['find', '/var/lib/drover/moves', '-type', 'f'])).stdout,
      )
      return (await Promise.all(left)).join('') === '' ? true : null
    })
    for (const each of lab.hosts) {
      const all = (await each.docker('ps', '-a', '--format', '{{.Names}}')).split('\n').filter((name) => name !== '')
      expect(all.toSorted()).toEqual(each === at ? ['beside', 'writer'] : [])
    }
    return at
  }

  it.each([
    ['stop', 'host2', 'host3'],
    ['pause', 'host3', 'host2'],
  ])(
    '%s: cut at a single point, from %s to %s',
    async (quiesce, from, to) => {
      const before = await acknowledgesMore(host(from))
      await forgetStarts()
      const ended: MoveJson[] = JSON.parse(
        await host('host1').vol('--json', 'move', '--group', 'app=shop', '--to', to, '--quiesce', quiesce),
      )
      expect(ended.map(({ state, error }) => [state, error])).toEqual(names.map(() => ['done', null]))
      console.log(`group of ${names.length}, ${quiesce}: downtime ${ended[0]?.downtimeMs} ms`)
      expect((await check(before)).name).toBe(to)
    },
    120_000,
  )

  it('one of the group cancelled is all of it cancelled, and the writers have not noticed', async () => {
    const fill = 'dd if=/dev/urandom of=/v/3/big bs=1M count=24 2>/dev/null; sync'
    await host('host2').docker('exec', 'writer', 'sh', '-c', fill)
    const before = await acknowledgesMore(host('host2'))
    await forgetStarts()
    const flags = ['--group', 'tier', '--to', 'host3', '--bwlimit', '2M', '--detach', '--json']
    const started: MoveJson[] = JSON.parse(await host('host1').vol('move', ...flags))
    await host('host1').vol('cancel', started.at(-1)?.id ?? '')
    expect((await check(before)).name).toBe('host2')
    const ended = (await moves()).filter(({ groupId }) => groupId === started[0]?.groupId)
    expect(new Set(ended.map(({ error }) => error?.code))).toEqual(new Set(['MOVE_CANCELLED']))
    expect(await read(host('host2'), '/srv/acks/starts')).toBe('')
    expect((await host('host1').tryVol('cancel', started[2]?.id ?? '')).exitCode).toBe(0)
  }, 120_000)

  it('volumes on several hosts, or with no such label, are refused with nothing touched', async () => {
    await host('host1').vol('create', 'stray', '--label', 'app=shop')
    const split = await host('host1').tryVol('move', '--group', 'app=shop', '--to', 'host3')
    expectRefusal(split, 4, 'GROUP_SPLIT', /part0 on host2.*stray on host1/)
    await host('host1').vol('rm', 'stray')
    expectRefusal(
      await host('host1').tryVol('move', '--group', 'app=none', '--to', 'host3'),
      3,
      'NO_SUCH_VOLUME',
      /app=none/,
    )
    expectRefusal(await host('host1').tryVol('move', '--group', 'app', '--to', 'host2'), 4, 'MOVE_TO_ITSELF', /host2/)
    expectRefusal(await host('host2').tryVol('move', 'part0', '--to', 'host3'), 4, 'CANNOT_CARRY', /part1/)
  })

  it.each([
    ['control', 'quiesce'],
    ['control', 'commit'],
    ['target', 'activate'],
  ])(
    '%s is killed at %s: all of the group or none',
    async (role, phase) => {
      const [source = ''] = await owners()
      const target = source === 'host2' ? 'host3' : 'host2'
      const victim = host(role === 'control' ? 'host1' : role === 'source' ? source : target)
      const before = await acknowledgesMore(host(source))
      await forgetStarts()
      let killed: Promise<void> | null = null
      const watch = await watchPhases(host('host1'), (entered) => {
        if (entered === phase) killed ??= victim.killVold()
      })
      const quiesce = phase === 'commit' ? 'pause' : 'stop'
      await host('host1').tryVol('move', '--group', 'app=shop', '--to', target, '--quiesce', quiesce, '--detach')
      await until(`phase ${phase}`, () => (killed === null ? null : true), { timeoutMs: 60_000 })
      await watch.stop()
      await killed
      await victim.startVold()
      await check(before)
    },
    180_000,
  )
})
