import { expect, test } from 'vitest'
import { CallBudget } from '../../../src/backends/block/ebs/budget.ts'
import { parseEbsPool } from '../../../src/backends/block/ebs/pool.ts'
import { profiles } from '../../../src/backends/block/ebs/profiles.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'

const parse = (spec: string) => parseEbsPool(parsePoolSpec(spec))

test('a pool, with options and without', () => {
  expect(parse('ebs:')).toMatchObject({ fileSystem: 'ext4', defaultGib: 20, kmsKeyId: null, isDirect: true })
  expect(parse('ebs:?direct=no').isDirect).toBe(false)
  expect(parse('ebs:').profile.name).toBe('standard')
  const all = parse('ebs:?profile=durable&fs=xfs&size=2&kms=arn:aws:kms:eu-central-1:1:key/a')
  expect(all).toMatchObject({ fileSystem: 'xfs', defaultGib: 4, kmsKeyId: 'arn:aws:kms:eu-central-1:1:key/a' })
  expect(all.profile.name).toBe('durable')
})

test('images change nothing of the volumes: such a pool is like one without', () => {
  const staged = parse('ebs:?fs=xfs&staging=/var/lib/images&size=4')
  expect(staged).toMatchObject({ staging: '/var/lib/images', spec: 'ebs:?fs=xfs&staging=/var/lib/images&size=4' })
  expect([staged.likeness, parse('ebs:?staging=/dir').likeness]).toEqual(['ebs:?fs=xfs&size=4', 'ebs:'])
  for (const spec of ['ebs:', 'ebs:?direct=no', 'ebs:?size=8&fs=xfs&kms=alias/a']) {
    expect(parse(spec)).toMatchObject({ staging: null, likeness: spec })
  }
})

test.each([
  'ebs:/dir',
  'ebs:?',
  'ebs:?fs=btrfs',
  'ebs:?fs',
  'ebs:?size=0',
  'ebs:?fs=xfs&fs=xfs',
  'ebs:?profile=x',
  'ebs:?a=b',
  'ebs:?direct=maybe',
  'ebs:?staging=relative',
  `ebs:?staging=/${'long/'.repeat(40)}`,
  'ebs:?staging=/dir&direct=no',
])('%s: BAD_CONFIG in one line', (spec) => {
  expect(() => parse(spec)).toThrow(
    expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringMatching(/^pool ebs:[^\n]+$/) }),
  )
})

test('profiles keep to what EC2 takes, whatever the size', () => {
  for (const { smallestGib, largestGib, performance } of profiles) {
    for (const gib of [smallestGib, 10, 100, largestGib]) {
      const { type, iops, throughput } = performance(gib)
      if (type === 'io2') {
        expect(iops).toBeLessThanOrEqual(1000 * gib)
        expect(throughput).toBeNull()
      } else {
        expect(iops).toBeGreaterThanOrEqual(3000)
        expect(iops).toBeLessThanOrEqual(Math.max(3000, 500 * gib))
        expect((throughput ?? 0) * 4).toBeLessThanOrEqual(iops)
      }
    }
  }
})

test('the budget: a burst, then so many a second; throttled it halves, and comes back', async () => {
  let now = 0
  const clock = {
    ...{ now: () => now, monotonic: () => now },
    sleep: async (ms: number) => {
      now += ms
    },
  }
  const budget = new CallBudget(clock, { burst: 3, perSecond: 2 })
  const takes = async (count: number) => {
    const before = now
    for (let index = 0; index < count; index += 1) await budget.take()
    return Math.round(now - before)
  }
  expect(await takes(3)).toBe(0)
  expect(await takes(4)).toBe(2000)
  budget.throttled()
  expect(await takes(2)).toBe(2000)
  for (let count = 0; count < 20; count += 1) budget.succeeded()
  expect(await takes(2)).toBe(1000)
  await Promise.all([takes(1), takes(1), takes(1)])
  expect(budget.made).toBe(14)
})
