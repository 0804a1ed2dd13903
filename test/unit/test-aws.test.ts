import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { connectEc2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { account, clusterOf, given } from '../aws/account.ts'
import { capped } from '../aws/capped.ts'
import { sweep } from '../aws/sweep.ts'
import { believeToBeOn } from '../ec2/pool.ts'
import { Ec2Server, here } from '../ec2/server.ts'
import { Stranger } from '../ec2/stranger.ts'

/* What keeps `npm run test:aws` from harm, tried on the strict server. */

const start = async () => {
  const server = await Ec2Server.start()
  onTestFinished(() => server.close())
  believeToBeOn(server)
  process.env.AWS_ENDPOINT_URL_EC2 = server.endpoint
  onTestFinished(() => {
    delete process.env.AWS_ENDPOINT_URL_EC2
  })
  return server
}

test('without an account it says in one line what to give, and calls nothing', () => {
  const { DROVER_AWS_ACCOUNT: _, ...env } = process.env
  const { status, stdout, stderr } = spawnSync('bash', ['scripts/test-aws.sh'], {
    ...{ cwd: join(import.meta.dirname, '../..'), encoding: 'utf8', env },
  })
  expect([status, stdout]).toEqual([2, ''])
  expect(stderr).toMatch(/^test:aws: give DROVER_AWS_ACCOUNT .* DROVER_AWS_MAX_GIB [^\n]* Nothing was called\n$/)
})

test.each([
  [{ DROVER_AWS_ACCOUNT: '11112222333', DROVER_AWS_MAX_GIB: '100' }, 0],
  [{ DROVER_AWS_ACCOUNT: '111122223333', DROVER_AWS_MAX_GIB: '59' }, 0],
  [{ DROVER_AWS_ACCOUNT: '111122223333' }, 0],
  [{ DROVER_AWS_ACCOUNT: '111122223333', DROVER_AWS_MAX_GIB: '100' }, 1000],
])('%j as user %i: not enough', (environment, uid) => {
  expect(given(environment, uid)).toBeNull()
})

test('an instance of another account than was named: refused before any call', async () => {
  const server = await start()
  await expect(account({ account: '999999999999', mostGib: 100 })).rejects.toThrow('not in 999999999999')
  expect(server.calls()).toEqual([])
  const { cluster, identity } = await account({ account: here.account, mostGib: 100 })
  expect(cluster).toMatch(/^[0-9a-z]{26}$/)
  expect(clusterOf(identity)).toBe('drovertst0123456789abcdef0')
})

test('what would exceed the cap is not asked for; what was removed counts no more', async () => {
  const server = await start()
  const ec2 = capped(await connectEc2({ region: here.region, endpoint: server.endpoint }), 20)
  const make = async (Size: number) => {
    const { VolumeId = '' } = await ec2.createVolume({ AvailabilityZone: here.zone, Size, VolumeType: 'gp3' })
    await expect.poll(() => server.world.volumes.get(VolumeId)?.state).toBe('available')
    return VolumeId
  }
  const beyond = expect.objectContaining({ name: 'VolumeLimitExceeded' })
  const first = await make(10)
  const outcomes = await Promise.allSettled([make(6), make(6)])
  expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
  await expect(ec2.modifyVolume({ VolumeId: first, Size: 15 })).rejects.toEqual(beyond)
  await ec2.modifyVolume({ VolumeId: first, Size: 14 })
  await expect(make(1)).rejects.toEqual(beyond)
  await ec2.deleteVolume({ VolumeId: first })
  await make(14)
  expect(server.calls()).toEqual(['CreateVolume', 'CreateVolume', 'ModifyVolume', 'DeleteVolume', 'CreateVolume'])
})

test('what a run left behind is removed by its tags, and nothing else', async () => {
  const server = await start()
  const ec2 = await connectEc2({ region: here.region, endpoint: server.endpoint })
  const cluster = 'drovertst0123456789abcdef0'
  const others = [server.plant({}), server.plant({ 'drover:cluster': 'c'.repeat(26) }), server.plantSnapshot({})]
  await new Stranger(ec2, { cluster, zone: here.zone, lookMs: 2 }).plant()
  server.plantSnapshot({ 'drover:cluster': cluster })
  const mine = server.plant({ 'drover:cluster': cluster })
  await ec2.attachVolume({ VolumeId: mine, InstanceId: here.instanceId, Device: '/dev/xvdba' })
  await server.settled()
  expect(await sweep(ec2, cluster, { lookMs: 10 })).toBe(10)
  await expect.poll(() => server.world.volumes.all().length).toBe(2)
  expect([...server.world.volumes.all(), ...server.world.snapshots.all()].map(({ id }) => id)).toEqual(others)
  expect(await sweep(ec2, cluster, { lookMs: 10 })).toBe(0)
})
