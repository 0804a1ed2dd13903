import { afterAll, beforeAll, expect, it } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter } from '../support/e2e.ts'

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
  readonly error: { readonly code: string } | null
}

const mib = 2 ** 20

let lab: Lab
beforeAll(async () => {
  lab = await Lab.up({ name: 'loop-move', subnet: '10.78.41', poolBytes: 2 ** 31, poolKind: 'loop' })
}, 180_000)
afterAll(() => lab?.down(), 60_000)

const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

const sumOf = (host: LabHost, volume: string) =>
  inVolume(host, volume, 'cd /d && find . ! -name log -type f | sort | xargs sha256sum | sha256sum')

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

/** Loop devices of volumes; those of the pools' own images are the lab's. */
const volumeLoops = async (host: LabHost): Promise<string[]> => {
  const { stdout } = await host.exec(['losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-FILE'])
  return stdout.split('\n').filter((path) => path.includes('/devices/'))
}

it('goes from file to file, and back with what changed, under a writer; stopped and paused', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'db', `dd if=/dev/urandom of=/d/big bs=1M count=64 && ln /d/big /d/link && chmod 4755 /d/big`)
  const sum = await sumOf(host1, 'db')
  await startWriter(host1, 'writer', 'db')
  const there = await move('db', host2)
  expect(there).toMatchObject({ state: 'done', error: null })
  expect(there.totalBytes).toBeGreaterThan(64 * mib)
  expect(there.totalBytes).toBeLessThan(96 * mib)
  expect(there.rounds[0]?.base).toBeNull()
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await host2.docker('exec', 'writer', 'stat', '-c', '%a %h', '/d/big')).toBe('4755 2')
  expect(await host2.docker('exec', 'writer', 'ls', '/d')).not.toContain('lost+found')

  await host2.docker('exec', 'writer', 'dd', 'if=/dev/urandom', 'of=/d/new', 'bs=1M', 'count=1')
  const back = await move('db', host1, '--quiesce', 'pause')
  expect(back.state).toBe('done')
  expect(back.rounds.every(({ base }) => base !== null)).toBe(true)
  expect(back.totalBytes).toBeLessThan(8 * mib)
  await goesOn(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  expect(await inVolume(host1, 'db', 'rm /d/new; sha256sum /d/big | cut -c1-8; ls /d')).toMatch(/^[0-9a-f]{8}\n/)
  expect(await sumOf(host1, 'db')).toBe(sum)
  await host1.vol('rm', 'db')
  expect(await volumeLoops(host1)).toEqual([])
}, 180_000)
