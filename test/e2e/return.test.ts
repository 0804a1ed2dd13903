import { afterEach, expect, it } from 'vitest'
import { sleep, until } from '../../lab/command.ts'
import { clearHosts, goesOn, inspect, lastNumber, writerLoop } from '../support/e2e.ts'
import { useLab } from '../support/lab.ts'
import { watchPhases } from '../support/phase-watch.ts'

/** A container that does not run well on the target goes back by itself, with its volume and all that was written there. */
const shared = useLab('return', { poolBytes: 2 ** 30, images: ['busybox'] })
afterEach(() => clearHosts(shared))

/** The program wants a file that only host1 has: on host2 it writes one more row and ends. */
const picky = `echo "$(hostname -f 2>/dev/null) $(cat /where/name)" >>/d/starts; grep -q host1 /where/name || { echo lost >>/d/rows; exit 3; }; ${writerLoop}`

const start = async (...flags: string[]): Promise<void> => {
  const { host1, host2 } = shared
  for (const host of [host1, host2])
    await host.exec(['sh', '-c', `mkdir -p /run/where; echo ${host.name} >/run/where/name`])
  const mounts = ['--volume', 'db:/d', '--volume-driver', 'drover', '--volume', '/run/where:/where:ro']
  await host1.docker('run', '--detach', '--name', 'db', ...mounts, ...flags, 'busybox', 'sh', '-c', picky)
  await goesOn(host1, 'db')
}

interface Move {
  readonly id: string
  readonly state: string
  readonly returnOf: string | null
  readonly returnedBy: string | null
  readonly returnDue: boolean
  readonly totalBytes: number
  readonly error: { code: string } | null
}
const moves = async (): Promise<Move[]> => JSON.parse(await shared.host1.vol('--json', 'moves', '--volume', 'db'))

const runsOnHost1 = async (acknowledged: number): Promise<void> => {
  const { host1, host2 } = shared
  await goesOn(host1, 'db')
  expect(await inspect(host1, 'db')).toMatchObject({ owner: 'host1', openMoveId: null })
  expect(await host2.docker('ps', '--all', '--quiet')).toBe('')
  const log = (await host1.docker('exec', 'db', 'cat', '/d/log')).split('\n').map(Number)
  expect(log.length).toBeGreaterThanOrEqual(acknowledged)
  expect(log).toEqual(log.map((_, index) => index + 1))
  // What the target wrote has come along.
  expect(await host1.docker('exec', 'db', 'cat', '/d/rows')).toContain('lost')
  for (const host of [host1, host2]) {
    expect((await host.exec(['ls', '/var/lib/drover/moves'])).stdout).toBe('')
  }
}

it.each([
  ['that ends', []],
  ['that is started again and again', ['--restart', 'always']],
  ['that the engine removes when it ends', ['--rm']],
])('a container %s', async (_, flags) => {
  await start(...flags)
  const acknowledged = await lastNumber(shared.host1, 'db')
  const ended = await shared.host1.tryVol('move', 'db', '--to', 'host2', '--health-timeout', '3s')
  expect(ended).toMatchObject({ exitCode: 1, stdout: '' })
  expect(ended.stderr).toMatch(
    /\nvol: NOT_HEALTHY: .*does not run well there: container db: it .*; it went back to host host1 and runs there\n$/,
  )
  const [back, first, ...others] = await moves()
  expect(others).toEqual([])
  expect(first).toMatchObject({ state: 'done', returnedBy: back?.id, returnDue: false, error: { code: 'NOT_HEALTHY' } })
  expect(back).toMatchObject({ state: 'done', returnOf: first?.id, returnedBy: null, error: null })
  expect(back?.totalBytes).toBeLessThan(2 ** 20)
  await runsOnHost1(acknowledged)
})

it('begins once, also when the control role dies in between', async () => {
  const { host1 } = shared
  await start('--restart', 'unless-stopped')
  const acknowledged = await lastNumber(host1, 'db')
  const retiring = Promise.withResolvers<void>()
  const watch = await watchPhases(host1, (phase) => phase === 'retire' && retiring.resolve())
  try {
    await host1.vol('move', 'db', '--to', 'host2', '--health-timeout', '3s', '--detach')
    await retiring.promise
    await sleep(30)
    await host1.killVold()
    await host1.startVold()
    await until('the volume to be back', async () => {
      const [back, first] = await moves()
      return first !== undefined && back?.state === 'done' && first.returnedBy === back.id ? true : null
    })
    expect(await moves()).toHaveLength(2)
    await runsOnHost1(acknowledged)
  } finally {
    await watch.stop()
  }
})

it('a group goes back as one', async () => {
  const { host1, host2 } = shared
  for (const host of [host1, host2])
    await host.exec(['sh', '-c', `mkdir -p /run/where; echo ${host.name} >/run/where/name`])
  for (const name of ['db', 'beside']) await host1.vol('create', name, '--label', 'app=shop')
  const both = `${picky.replace('exit 3', 'echo lost >>/b/rows; exit 3')}`
  const mounts = ['-v', 'db:/d', '-v', 'beside:/b', '-v', '/run/where:/where:ro', '--volume-driver', 'drover']
  await host1.docker('run', '-d', '--name', 'db', '--restart', 'always', ...mounts, 'busybox', 'sh', '-c', both)
  await goesOn(host1, 'db')
  const acknowledged = await lastNumber(host1, 'db')
  const ended = await host1.tryVol('move', '--group', 'app=shop', '--to', 'host2', '--health-timeout', '3s')
  expect(ended.stderr).toMatch(/\nvol: NOT_HEALTHY: .*; it went back to host host1 and runs there\n$/)
  await runsOnHost1(acknowledged)
  expect(await inspect(host1, 'beside')).toMatchObject({ owner: 'host1', openMoveId: null })
  expect(await host1.docker('exec', 'db', 'cat', '/b/rows')).toContain('lost')
  const all: (Move & { groupId: string })[] = JSON.parse(await host1.vol('--json', 'moves'))
  const latest = all.slice(0, 4)
  const back = latest.filter(({ returnOf }) => returnOf !== null)
  const there = latest.filter(({ returnOf }) => returnOf === null)
  expect(back.map(({ returnOf }) => returnOf).toSorted()).toEqual(there.map(({ id }) => id).toSorted())
  expect(there.map(({ returnedBy }) => returnedBy).toSorted()).toEqual(back.map(({ id }) => id).toSorted())
  expect(new Set(back.map(({ groupId }) => groupId)).size).toBe(1)
})

it('--no-return leaves it there', async () => {
  await start()
  const ended = await shared.host1.tryVol('move', 'db', '--to', 'host2', '--health-timeout', '3s', '--no-return')
  expect(ended).toMatchObject({ exitCode: 1, stdout: '' })
  expect(ended.stderr).toMatch(/\nvol: NOT_HEALTHY: .*exit status 3; it is on host host2\n$/)
  expect(await inspect(shared.host1, 'db')).toMatchObject({ owner: 'host2' })
  expect(await moves()).toHaveLength(1)
})
