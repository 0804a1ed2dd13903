import { onTestFinished } from 'vitest'
import { KernelDisks } from '../../src/backends/block/ebs/kernel-disks.ts'
import type { EbsBackend } from '../../src/backends/block/ebs.ts'
import { exec } from '../contract/backend-bench.ts'
import { loopDisks } from './loop-disks.ts'
import { believeToBeOn, ebsPool, fastClock, surroundingsOf, unitBytes } from './pool.ts'
import { Ec2Server, here } from './server.ts'

/** A pool of EBS on a server of its own, its volumes loop devices of this machine, until the test ends. A GiB of the server's is a MiB. */
export const openedEbs = async (spec = 'ebs:?size=64'): Promise<{ server: Ec2Server; backend: EbsBackend }> => {
  const disks = await loopDisks([here.instanceId])
  onTestFinished(() => disks.dispose())
  const server = await Ec2Server.start({ disks, unitBytes })
  onTestFinished(() => server.close())
  believeToBeOn(server)
  const clock = fastClock(300)
  const standard = surroundingsOf(server, disks.directory, clock)
  const surroundings = { ...standard, disks: new KernelDisks(disks.links(here.instanceId)) }
  const backend = ebsPool(surroundings, exec, clock, spec)
  await backend.open()
  onTestFinished(() => backend.close())
  return { server, backend }
}
