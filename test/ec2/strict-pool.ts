import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { connectEc2 } from '../../src/backends/block/ebs/ec2-client.ts'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import { tag } from '../../src/backends/block/ebs/tags.ts'
import type { PoolUnderTest } from '../contract/backend-bench.ts'
import { loopDisk } from '../support/loop-disk.ts'
import { ebsUnderTest } from './ebs-under-test.ts'
import { plantForeign } from './foreign.ts'
import { loopDisks } from './loop-disks.ts'
import { believeToBeOn, cluster, fastClock, surroundingsOf, unitBytes } from './pool.ts'
import type { RandomFaults } from './random-faults.ts'
import { secondVolumes } from './second-volumes.ts'
import { Ec2Server, here } from './server.ts'

interface Options {
  readonly isDirect?: boolean
  /** File by file by local images. */
  readonly isStaged?: boolean
  /** Of Drover's own calls, and of what they begin; what the tests do by calls goes well. */
  readonly faults?: RandomFaults
}

/** Describes may lag behind by more than the machine is late, and are waited for. */
const settleMs = 90_000

/** A host on the strict EC2 server, its volumes loop devices of this machine. A GiB of the server's is a MiB. */
export const strictPool = async ({
  isDirect = true,
  isStaged = false,
  faults,
}: Options = {}): Promise<PoolUnderTest> => {
  const staging = isStaged ? await loopDisk('xfs') : null
  const disks = await loopDisks([here.instanceId])
  const server = await Ec2Server.start({ disks, unitBytes, ...(faults === undefined ? {} : { randomFaults: faults }) })
  believeToBeOn(server)
  const clock = fastClock(300)
  const standard = surroundingsOf(server, disks.directory, clock)
  const surroundings = {
    ...standard,
    ...(faults === undefined ? {} : { limits: { ...standard.limits, settle: settleMs } }),
    disks: new KernelDisks(disks.links(here.instanceId)),
  }
  const options = [
    ...['size=64', isDirect ? null : 'direct=no', staging === null ? null : `staging=${staging.path}`],
  ].filter((each) => each !== null)
  const spec = `ebs:?${options.join('&')}`
  const foreign = plantForeign(server, cluster)
  const pool = ebsUnderTest({
    ...{ surroundings, clock, zone: here.zone, spec, lookMs: 5 },
    ec2: await connectEc2({ region: here.region, endpoint: server.calmEndpoint }),
    settled: () => server.settled(),
    // What made them named them too: a call that changes one comes after that, and names it first.
    untouched: (ids) =>
      !server.journal.some(
        ({ action, parameters }) =>
          !/^(Describe|CreateSnapshot)/.test(action) && Object.values(parameters).some((value) => ids.includes(value)),
      ),
    dispose: async () => {
      await server.close()
      await disks.dispose()
      await staging?.dispose()
    },
  })
  const { volumes, snapshots } = server.world
  const isOurs = (tags: Readonly<Record<string, string>>) => tags[tag.cluster] === cluster
  return {
    ...pool,
    checkEmpty: () => {
      expect(secondVolumes(server.world, cluster), 'devices with two volumes at one time').toEqual([])
      expect(foreign.untouched(), 'what is not ours is untouched').toBe(true)
      expect(volumes.all().filter(({ tags, state }) => isOurs(tags) && state !== 'deleting')).toEqual([])
      expect(snapshots.all().filter(({ tags }) => isOurs(tags))).toEqual([])
      if (staging !== null) expect(readdirSync(join(staging.path, 'drover-images')), 'images').toEqual([])
    },
  }
}
