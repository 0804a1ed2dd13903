import { afterAll, beforeAll, expect, test } from 'vitest'
import type { LabHost } from '../../lab/host.ts'
import { Lab } from '../../lab/lab.ts'
import { goesOn, inVolume, startWriter, volumeMounts } from '../support/e2e.ts'
import { awaitLeftOn, type LabEc2, startLabEc2 } from '../support/lab-ec2.ts'

/* Two Docker hosts as instances in two regions: a container and its volume go from one to the other by snapshots that EC2 copies. */

const pool = 'ebs:?size=1'
let lab: Lab
let ec2: LabEc2
beforeAll(async () => {
  lab = await Lab.up({ name: 'ebs-regions', subnet: '10.78.46', vold: false })
  ec2 = await startLabEc2(lab, 'regions')
  for (const host of lab.hosts) await ec2.startVold(host, pool)
  await lab.makeCluster()
}, 180_000)
afterAll(async () => {
  await lab?.down()
  await ec2?.dispose()
}, 60_000)

const move = async (to: LabHost, ...flags: string[]) =>
  JSON.parse(await lab.host1.vol('--json', 'move', 'db', '--to', to.name, ...flags))

const awaitLeft = (zones: readonly string[], snapshots: number) => awaitLeftOn(ec2, zones, snapshots)

test('to another region and back, with everything; in each a copy of the base stays, and goes with the volume', async () => {
  const { host1, host2 } = lab
  await host1.vol('create', 'db', '--size', '1G')
  await inVolume(host1, 'db', 'dd if=/dev/urandom of=/d/big bs=1M count=16')
  const sum = await inVolume(host1, 'db', 'sha256sum /d/big')
  await startWriter(host1, 'writer', 'db')
  const plan = JSON.parse(await host1.vol('--json', 'move', 'db', '--to', 'host2', '--dry-run'))
  expect(plan).toMatchObject({ strategy: 'snapshot-full', cloud: { transferBytes: plan.forecast.bytes } })
  for (const [to, from, zone, quiesce] of [
    [host2, host1, 'eu-test-2a', 'stop'],
    [host1, host2, 'eu-test-1a', 'pause'],
  ] as const) {
    const moved = await move(to, '--quiesce', quiesce)
    console.info(`to ${zone}, ${quiesce}: writers stopped for ${moved.downtimeMs} ms`)
    expect(moved).toMatchObject({ state: 'done', error: null })
    expect(moved.totalBytes).toBeLessThan(4_096)
    await goesOn(to, 'writer')
    const log = (await to.docker('exec', 'writer', 'cat', '/d/log')).split('\n').map(Number)
    expect(log).toEqual(Array.from({ length: log.length }, (_, index) => index + 1))
    expect(await to.docker('exec', 'writer', 'sha256sum', '/d/big')).toBe(sum)
    expect(await volumeMounts(from)).toEqual([])
    await awaitLeft([zone], 2)
  }
  await host1.docker('rm', '--force', 'writer')
  await host1.vol('rm', 'db')
  await awaitLeft([], 0)
}, 240_000)
