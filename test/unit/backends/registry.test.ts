import { expect, test } from 'vitest'
import { createBackend } from '../../../src/backends/registry.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'

const create = (spec: string) =>
  createBackend({
    spec: parsePoolSpec(spec),
    exec: createExec(silentLogger),
    logger: silentLogger,
    clock: systemClock,
  })

test.each(['btrfs:/pool', 'loop:/pool?fs=xfs', 'zfs:tank/drover', 'lvm:vg/thin'])(
  '%s: a kind that is built',
  (spec) => {
    expect(create(spec).spec.text).toBe(spec)
  },
)

test('ebs: BAD_CONFIG that names what there is', () => {
  expect(() => create('ebs:')).toThrow(
    expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringContaining('use one of: btrfs') }),
  )
})
