import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll } from 'vitest'
import { CallBudget } from '../../src/backends/block/ebs/budget.ts'
import { onInstance } from '../../src/backends/block/ebs/surroundings.ts'
import { systemClock } from '../../src/lib/clock.ts'
import type { MakePool } from '../contract/backend-bench.ts'
import { backendSuite } from '../contract/backend-suite.ts'
import { ebsUnderTest } from '../ec2/ebs-under-test.ts'
import { type Account, account, given, usage } from './account.ts'
import { sweep } from './sweep.ts'

/* The suite of all pools on a real account, on the instance that this runs on; scripts/test-aws.sh starts it. */

const settleMs = 15_000
const lookMs = 3_000

let aws: Account
const budget = new CallBudget(systemClock)

// What an earlier run left that was killed goes first. File systems of its that are still mounted here hold their volumes: that is told, not forced.
beforeAll(async () => {
  const what = given(process.env, process.geteuid?.())
  if (what === null) throw new Error(usage)
  aws = await account(what)
  await sweep(aws.ec2, aws.cluster)
})
afterAll(() => sweep(aws.ec2, aws.cluster))

const makePool: MakePool = async () => {
  const { ec2, identity, cluster } = aws
  const home = await mkdtemp('/var/tmp/drover-aws-')
  const surroundings = {
    ...onInstance({ home: join(home, 'home'), cluster: () => cluster, budget }),
    connect: async () => ec2,
  }
  return ebsUnderTest({
    ...{ surroundings, ec2, lookMs, clock: systemClock, zone: identity.zone, spec: 'ebs:?size=2' },
    settled: () => sleep(settleMs),
    dispose: () => rm(home, { recursive: true, force: true }),
  })
}

backendSuite('ebs, on AWS', makePool, { snapshots: true, streams: true, trees: true })
