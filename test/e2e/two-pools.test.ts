import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { until } from '../../lab/command.ts'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inspect, inVolume, startWriter } from '../support/e2e.ts'

interface MoveJson {
  readonly id: string
  readonly state: string
  readonly phase: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
  readonly error: { readonly code: string } | null
}

const mib = 2 ** 20
const btrfs = 'btrfs:/srv/pool'
const loop = 'loop:/srv/second'

let lab: Lab
beforeAll(async () => {
  lab = await Lab.up({ name: 'two-pools', subnet: '10.78.49', poolBytes: 2 ** 31, secondKind: 'loop' })
}, 180_000)
afterAll(() => lab?.down(), 60_000)

const move = async (name: string, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, ...flags))

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

const replicasOf = async (name: string) => (await inspect(lab.host1, name)).replicas

/** The directories of volumes that a pool holds. */
const heldIn = async (host: LabHost, pool: string) =>
  (await host.exec(['ls', `${pool.slice(pool.indexOf(':') + 1)}/volumes`])).stdout.trim()

const clear = async (host: LabHost, name: string, container: string) => {
  await host.docker('rm', '--force', container)
  await host.vol('rm', name)
  for (const each of lab.hosts) {
    await until(`${name} to be gone from ${each.name}`, async () =>
      `${await heldIn(each, btrfs)}${await heldIn(each, loop)}` === '' ? true : null,
    )
    const { stdout } = await each.exec(['losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-FILE'])
    expect(stdout.split('\n').filter((path) => path.includes('/devices/'))).toEqual([])
  }
  expect(JSON.parse(await host.vol('--json', 'doctor')).findings).toEqual([])
}

it('goes to the pool that is named, and beside a replica in another pool there', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'there', 'dd if=/dev/urandom of=/d/big bs=1M count=16')
  await startWriter(host1, 'writer', 'there')
  const unknown = await host1.tryVol('move', 'there', '--to', 'host2', '--pool', 'loop:/none')
  expect(unknown.stderr).toMatch(/NO_SUCH_POOL: host host2 has no pool loop:\/none; it has btrfs:\/srv\/pool, loop:/)
  const first = await move('there', '--to', 'host2', '--pool', loop)
  expect(first).toMatchObject({ state: 'done', error: null, targetPool: loop })
  await goesOn(host2, 'writer')
  const back = await move('there', '--to', 'host1')
  expect(back).toMatchObject({ state: 'done', targetPool: btrfs })
  expect(back.totalBytes).toBeLessThan(2 * mib)
  const again = await move('there', '--to', 'host2', '--pool', btrfs)
  expect(again).toMatchObject({ state: 'done', targetPool: btrfs })
  expect(again.rounds[0]?.base).toBeNull()
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await replicasOf('there')).toEqual([
    expect.objectContaining({ host: 'host1', pool: btrfs, role: 'replica' }),
    expect.objectContaining({ host: 'host2', pool: loop, role: 'replica' }),
  ])
  await clear(host2, 'there', 'writer')
}, 180_000)

it('goes to another pool of its host under a writer, and back with what changed', async () => {
  const { host1 } = lab
  const word = randomBytes(8).toString('hex')
  await inVolume(host1, 'db', `dd if=/dev/urandom of=/d/big bs=1M count=32 && echo ${word} >/d/word && mkfifo /d/fifo`)
  await startWriter(host1, 'writer', 'db', '--restart', 'always')
  const container = await host1.docker('inspect', '--format', '{{.Id}}', 'writer')
  const plan = JSON.parse(await host1.vol('--json', 'move', 'db', '--pool', loop, '--dry-run'))
  expect(plan).toMatchObject({ strategy: 'tree-full', from: 'host1', to: 'host1', targetPool: loop })

  const there = await move('db', '--pool', loop)
  expect(there).toMatchObject({ state: 'done', error: null, sourcePool: btrfs, targetPool: loop })
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  expect(await host1.docker('exec', 'writer', 'cat', '/d/word')).toBe(word)
  expect(await host1.docker('inspect', '--format', '{{.Id}} {{.HostConfig.RestartPolicy.Name}}', 'writer')).toBe(
    `${container} always`,
  )
  expect(await host1.docker('exec', 'writer', 'grep', '/d ', '/proc/mounts')).toContain('ext4')
  expect(await inspect(host1, 'db')).toMatchObject({ owner: 'host1', pool: loop, mounted: true })
  expect(await replicasOf('db')).toEqual([expect.objectContaining({ host: 'host1', pool: btrfs, role: 'replica' })])

  await host1.docker('exec', 'writer', 'dd', 'if=/dev/urandom', 'of=/d/new', 'bs=1M', 'count=1')
  const back = await move('db', '--pool', btrfs, '--quiesce', 'pause')
  expect(back).toMatchObject({ state: 'done', error: null })
  expect(back.rounds.every(({ base }) => base !== null)).toBe(true)
  expect(back.totalBytes).toBeLessThan(2 * mib)
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  expect((await host1.tryVol('move', 'db', '--pool', btrfs)).stderr).toMatch(/MOVE_TO_ITSELF: volume db is in pool/)
  expect((await host1.tryVol('move', 'db', '--pool', loop, '--verify')).stderr).toMatch(/BAD_REQUEST: .*--verify/)
  expect((await host1.tryVol('move', 'db')).stderr).toMatch(/--to/)
  await clear(host1, 'db', 'writer')
}, 180_000)

it('ends or is undone by itself when its vold dies on the way, with one copy that counts', async () => {
  const { host1 } = lab
  await startWriter(host1, 'writer', 'struck')
  for (const phase of ['verify', 'activate']) {
    const pool = (await inspect(host1, 'struck')).pool === btrfs ? loop : btrfs
    const { id }: MoveJson = JSON.parse(await host1.vol('--json', 'move', 'struck', '--pool', pool, '--detach'))
    await until(`phase ${phase}`, async () => {
      const now: MoveJson = JSON.parse(await host1.vol('--json', 'move-status', id))
      return now.phase === phase || now.state === 'done' ? true : null
    })
    await host1.killVold()
    await host1.startVold()
    const ended = await until('the end of the move', async () => {
      const now: MoveJson = JSON.parse(await host1.vol('--json', 'move-status', id))
      return ['done', 'aborted'].includes(now.state) ? now : null
    })
    await goesOn(host1, 'writer')
    await expectWhole(host1, 'writer')
    const expected = ended.state === 'done' ? pool : pool === btrfs ? loop : btrfs
    expect((await inspect(host1, 'struck')).pool).toBe(expected)
  }
  await clear(host1, 'struck', 'writer')
}, 180_000)
