import { afterAll, beforeAll, expect, it } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter } from '../support/e2e.ts'
import { type LabEc2, startLabEc2 } from '../support/lab-ec2.ts'

/* A database enters the cloud, and leaves it again: from a pool of files to EBS and back, by the EBS direct API. */

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly { readonly bytes: number; readonly base: string | null }[]
  readonly error: { readonly code: string } | null
}

const mib = 2 ** 20
const loop = 'loop:/srv/pool'
const ebs = 'ebs:?size=1'

let lab: Lab
let ec2: LabEc2
beforeAll(async () => {
  lab = await Lab.up({ name: 'ebs-in-out', subnet: '10.78.44', poolBytes: 2 ** 30, poolKind: 'loop', vold: false })
  ec2 = await startLabEc2(lab)
  for (const host of lab.hosts) await ec2.startVold(host, loop, ebs)
  await lab.makeCluster()
}, 180_000)
afterAll(async () => {
  await lab?.down()
  await ec2?.dispose()
}, 60_000)

const move = async (name: string, to: LabHost, pool: string): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, '--pool', pool))

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

const callsSince = async (before: number): Promise<Map<string, number>> => {
  const counts = new Map<string, number>()
  for (const { action } of (await ec2.calls()).slice(before)) counts.set(action, (counts.get(action) ?? 0) + 1)
  return counts
}

it('into EBS without a volume but its own, and out with what changed, under a writer', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'db', 'dd if=/dev/urandom of=/d/big bs=1M count=48')
  const sum = await inVolume(host1, 'db', 'sha256sum /d/big')
  await startWriter(host1, 'writer', 'db')
  const before = (await ec2.calls()).length
  const into = await move('db', host2, ebs)
  const entering = await callsSince(before)
  expect(into).toMatchObject({ state: 'done', error: null })
  expect(into.totalBytes).toBeGreaterThan(48 * mib)
  const rounds = into.rounds.length
  console.info(`in: ${rounds} rounds, writers stopped for ${into.downtimeMs} ms; ${[...entering].join(' ')}`)
  expect([entering.get('StartSnapshot'), entering.get('CompleteSnapshot')]).toEqual([rounds, rounds])
  expect([entering.get('CreateVolume'), entering.get('CreateSnapshot')]).toEqual([1, undefined])
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await host2.docker('exec', 'writer', 'sha256sum', '/d/big')).toBe(sum)

  const after = (await ec2.calls()).length
  const out = await move('db', host1, loop)
  const leaving = await callsSince(after)
  console.info(`out: ${out.totalBytes} bytes, writers stopped for ${out.downtimeMs} ms; ${[...leaving].join(' ')}`)
  expect(out).toMatchObject({ state: 'done', error: null })
  expect(out.totalBytes).toBeLessThan(16 * mib)
  expect(leaving.get('CreateVolume')).toBeUndefined()
  expect(leaving.get('ListChangedBlocks')).toBeGreaterThan(0)
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  expect(await inVolume(host1, 'db', 'sha256sum /d/big')).toBe(sum)
}, 240_000)
