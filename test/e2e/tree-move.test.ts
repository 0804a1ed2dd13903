import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter } from '../support/e2e.ts'

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
  readonly error: { readonly code: string } | null
  readonly verification?: { readonly state: string } | null
}

const mib = 2 ** 20

let lab: Lab
beforeAll(async () => {
  const poolKind = ({ name }: LabHost) => (name === 'host1' ? 'btrfs' : 'loop')
  lab = await Lab.up({ name: 'tree-move', subnet: '10.78.44', poolBytes: 2 ** 31, poolKind })
}, 180_000)
afterAll(() => lab?.down(), 60_000)

const move = async (to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', 'db', '--to', to.name, ...flags))

const sumOf = (host: LabHost) =>
  inVolume(host, 'db', 'cd /d && find . ! -name log -type f | sort | xargs sha256sum | sha256sum')

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost) => {
  const log = (await host.docker('exec', 'writer', 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

it('goes from btrfs to a loop device file by file, and back with what changed, under a writer, proved', async () => {
  const { host1, host2 } = lab
  const word = randomBytes(8).toString('hex')
  await inVolume(host1, 'db', `dd if=/dev/urandom of=/d/big bs=1M count=32 && ln /d/big /d/link && chmod 4755 /d/big`)
  await inVolume(host1, 'db', `echo ${word} >/d/word && chown 70:70 /d/word && mkfifo /d/fifo`)
  const sum = await sumOf(host1)
  await startWriter(host1, 'writer', 'db')
  const plan = JSON.parse(await host1.vol('--json', 'move', 'db', '--to', 'host2', '--dry-run'))
  expect(plan).toMatchObject({ strategy: 'tree-full' })
  const there = await move(host2, '--verify')
  expect(there).toMatchObject({ state: 'done', error: null, verification: { state: 'equal' } })
  expect(there.rounds[0]?.base).toBeNull()
  expect(there.totalBytes).toBeLessThan(36 * mib)
  await goesOn(host2, 'writer')
  await expectWhole(host2)
  expect(await host2.docker('exec', 'writer', 'stat', '-c', '%a %h', '/d/big')).toBe('4755 2')
  expect(await host2.docker('exec', 'writer', 'stat', '-c', '%u:%g', '/d/word')).toBe('70:70')

  await host2.docker('exec', 'writer', 'dd', 'if=/dev/urandom', 'of=/d/new', 'bs=1M', 'count=1')
  const back = await move(host1, '--verify')
  expect(back).toMatchObject({ state: 'done', error: null, verification: { state: 'equal' } })
  expect(back.rounds.every(({ base }) => base !== null)).toBe(true)
  expect(back.totalBytes).toBeLessThan(2 * mib)
  await goesOn(host1, 'writer')
  await expectWhole(host1)
  await host1.docker('rm', '--force', 'writer')
  await inVolume(host1, 'db', 'rm /d/new')
  expect(await sumOf(host1)).toBe(sum)
  await host1.vol('rm', 'db')
  const { stdout } = await host2.exec(['losetup', '--list', '--noheadings', '--raw', '--output', 'BACK-FILE'])
  expect(stdout.split('\n').filter((path) => path.includes('/devices/'))).toEqual([])
}, 180_000)
