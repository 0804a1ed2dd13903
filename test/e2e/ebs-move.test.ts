import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter, volumeMounts } from '../support/e2e.ts'
import { type LabEc2, startLabEc2 } from '../support/lab-ec2.ts'

interface MoveJson {
  readonly state: string
  readonly totalBytes: number
  readonly downtimeMs: number | null
  readonly rounds: readonly unknown[]
  readonly error: { readonly code: string } | null
}

const pool = 'ebs:?size=1'
let lab: Lab
let ec2: LabEc2
beforeAll(async () => {
  lab = await Lab.up({ name: 'ebs-move', subnet: '10.78.43', vold: false })
  ec2 = await startLabEc2(lab)
  for (const host of lab.hosts) await ec2.startVold(host, pool)
  await lab.makeCluster()
}, 180_000)
afterAll(async () => {
  await lab?.down()
  await ec2?.dispose()
}, 60_000)

const move = async (name: string, to: LabHost, ...flags: string[]): Promise<MoveJson> =>
  JSON.parse(await lab.host1.vol('--json', 'move', name, '--to', to.name, ...flags))

/** Everything that was counted is there, in order, once. */
const expectWhole = async (host: LabHost, container: string) => {
  const log = (await host.docker('exec', container, 'cat', '/d/log')).split('\n').map(Number)
  expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
}

test('a container and its volume of EBS go from instance to instance, and back: one volume, detached here and attached there', async () => {
  const { host1, host2 } = lab
  await inVolume(host1, 'db', 'dd if=/dev/urandom of=/d/big bs=1M count=64')
  const sum = await inVolume(host1, 'db', 'sha256sum /d/big')
  await startWriter(host1, 'writer', 'db')
  const plan = JSON.parse(await host1.vol('--json', 'move', 'db', '--to', 'host2', '--dry-run'))
  expect(plan).toMatchObject({ strategy: 'handover', forecast: { bytes: 0 } })
  const before = (await ec2.calls()).length
  const there = await move('db', host2)
  const asked = (await ec2.calls()).slice(before).map(({ action }) => action)
  console.info(`there: writers stopped for ${there.downtimeMs} ms; EC2 was asked ${asked.join(', ')}`)
  expect(there).toMatchObject({ state: 'done', error: null, totalBytes: 0, rounds: [] })
  expect(asked.filter((action) => /^(Create|Delete)(Volume|Snapshot)$/.test(action))).toEqual([])
  expect(asked.filter((action) => /^(At|De)tachVolume$/.test(action))).toEqual(['DetachVolume', 'AttachVolume'])
  await goesOn(host2, 'writer')
  await expectWhole(host2, 'writer')
  expect(await host2.docker('exec', 'writer', 'sha256sum', '/d/big')).toBe(sum)
  expect(await volumeMounts(host1)).toEqual([])
  expect(await host1.docker('ps', '--all', '--quiet')).toBe('')

  const back = await move('db', host1, '--quiesce', 'pause')
  console.info(`back, paused: writers stopped for ${back.downtimeMs} ms`)
  expect(back).toMatchObject({ state: 'done', error: null, totalBytes: 0 })
  await goesOn(host1, 'writer')
  await expectWhole(host1, 'writer')
  await host1.docker('rm', '--force', 'writer')
  expect(await inVolume(host1, 'db', 'sha256sum /d/big')).toBe(sum)
  await host1.vol('rm', 'db')
  const deleted = async () => (await ec2.calls()).filter(({ action }) => action === 'DeleteVolume').length
  await expect.poll(deleted, { timeout: 60_000 }).toBe(1)
  expect((await ec2.calls()).filter(({ action }) => action === 'CreateVolume')).toHaveLength(1)
}, 240_000)
