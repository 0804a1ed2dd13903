import { expect, test } from 'vitest'
import type { CloudContext } from '../../../src/backends/backend.ts'
import { CallBudget } from '../../../src/backends/block/ebs/budget.ts'
import { createBackend } from '../../../src/backends/registry.ts'
import { parsePoolSpec } from '../../../src/domain/pool.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { createExec } from '../../../src/lib/exec.ts'
import { silentLogger } from '../../../src/lib/logger.ts'

const create = (spec: string, cloud?: CloudContext) =>
  createBackend({
    spec: parsePoolSpec(spec),
    exec: createExec(silentLogger),
    logger: silentLogger,
    clock: systemClock,
    ...(cloud === undefined ? {} : { cloud }),
  })

test.each(['btrfs:/pool', 'loop:/pool?fs=xfs', 'zfs:tank/drover', 'lvm:vg/thin'])(
  '%s: a kind that is built',
  (spec) => {
    expect(create(spec).spec.text).toBe(spec)
  },
)

test('ebs: only where vold says whose it is, and where its notes go', () => {
  expect(() => create('ebs:')).toThrow(
    expect.objectContaining({ code: 'BAD_CONFIG', message: expect.stringContaining('opened by vold') }),
  )
  const cloud = { notes: '/var/lib/drover/cloud', cluster: () => 'c'.repeat(26), budget: new CallBudget(systemClock) }
  expect(create('ebs:?profile=fast', cloud).spec.text).toBe('ebs:?profile=fast')
  expect(() => create('ebs:?profile=faster', cloud)).toThrow(expect.objectContaining({ code: 'BAD_CONFIG' }))
})
