import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import type { PoolUnderTest } from '../contract/backend-bench.ts'
import { backendSuite } from '../contract/backend-suite.ts'
import { ebsUnderTest } from '../ec2/ebs-under-test.ts'
import { loopDisks } from '../ec2/loop-disks.ts'
import { believeToBeOn, fastClock, surroundingsOf, unitBytes } from '../ec2/pool.ts'
import { Ec2Server, here } from '../ec2/server.ts'

/** A host on the strict EC2 server, its volumes loop devices of this machine. A GiB of the server's is a MiB. */
const makePool = async (isDirect: boolean): Promise<PoolUnderTest> => {
  const disks = await loopDisks([here.instanceId])
  const server = await Ec2Server.start({ disks, unitBytes })
  believeToBeOn(server)
  const clock = fastClock(300)
  const surroundings = {
    ...surroundingsOf(server, disks.directory, clock),
    disks: new KernelDisks(disks.links(here.instanceId)),
  }
  return ebsUnderTest({
    ...{ surroundings, clock, zone: here.zone, spec: isDirect ? 'ebs:?size=64' : 'ebs:?size=64&direct=no', lookMs: 5 },
    ec2: await surroundings.connect(here.region),
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
    },
  })
}

const facets = { snapshots: true, streams: true, trees: true }
backendSuite('ebs, on the strict EC2 server', () => makePool(true), facets)
backendSuite('ebs, without the direct API', () => makePool(false), facets)
