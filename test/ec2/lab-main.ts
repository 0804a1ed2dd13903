import { createServer } from 'node:http'
import { loopDisks } from './loop-disks.ts'
import { InstanceMetadata } from './metadata.ts'
import { abroad, beside, Ec2Server, elsewhere, here } from './server.ts'

/*
 * EC2 for a lab: runs in one of its hosts at ADDRESS, with its disks in DIRECTORY there and links to them in LINKS, which all hosts see. Says in one
 * line of JSON where it is reached, where each instance asks for its metadata, and where the links to its disks are; tells at /calls of the metadata
 * what was asked of it; /left what there is; /full and /free there fill the instance with disks of somebody else; from /slow
 * on no snapshot becomes whole for ten minutes, until /quick; after /hold EC2 does the next attach and is long in answering. With `zones` the instances are in two
 * zones, with `regions` in two regions, and what EC2 does takes time.
 */

const [address = '', directory = '', links = '', where] = process.argv.slice(2)
const second = where === 'zones' ? { ...here, ...elsewhere } : where === 'regions' ? abroad : beside
const instances = [here, second]
const disks = await loopDisks(
  instances.map(({ instanceId }) => instanceId),
  directory,
  links,
)
const slow = { create: 500, attach: 200, detach: 200, snapshot: 500, snapshotMib: 20 }
const server = await Ec2Server.start({ disks, address, ...(second === beside ? {} : { times: slow }) })

const holdMs = 60_000

/** Disks that somebody else has attached to it, as many as it takes; or none. */
const fill = (instanceId: string, isFull: boolean) => {
  const { volumes } = server.world
  for (const { id } of volumes.all().filter(({ tags }) => tags.Name === 'somebody')) volumes.put(id, null)
  for (let index = 0; isFull && index < 28; index += 1) {
    const id = server.plant({ Name: 'somebody' })
    const planted = volumes.get(id)
    const device = `/dev/xvde${String.fromCharCode(97 + (index % 26))}`
    if (planted !== null)
      volumes.put(id, { ...planted, state: 'in-use', attachment: { instanceId, device, state: 'attached' } })
  }
}

const regions = [server.world, server.abroad]
const left = () => ({
  volumes: regions.flatMap(({ volumes }) => volumes.all()).filter(({ state }) => state !== 'deleting'),
  snapshots: regions.flatMap(({ snapshots }) => snapshots.all()),
})

const snapshotsTake = (ms: number) => {
  for (const { times } of regions) Object.assign(times, { snapshot: ms })
}

const metadataOf = async (instance: typeof here): Promise<string> => {
  const metadata = new InstanceMetadata(() => instance)
  const listener = createServer((request, response) => {
    if (request.url === '/calls') response.end(JSON.stringify(server.journal))
    else if (request.url === '/left') response.end(JSON.stringify(left()))
    else if (request.url === '/slow' || request.url === '/quick') {
      snapshotsTake(request.url === '/slow' ? 600_000 : slow.snapshot)
      response.end('{}')
    } else if (request.url === '/full' || request.url === '/free') {
      fill(instance.instanceId, request.url === '/full')
      response.end('{}')
    } else if (request.url === '/hold') {
      server.faults.add({ action: 'AttachVolume', kind: { lateMs: holdMs } })
      response.end('{}')
    } else if (!metadata.answer(request, response)) response.writeHead(404).end()
  })
  await new Promise<void>((resolve) => listener.listen(0, address, resolve))
  const bound = listener.address()
  if (bound === null || typeof bound === 'string') throw new Error('the metadata is not served')
  return `http://${address}:${bound.port}`
}

const told = []
for (const instance of instances) {
  told.push({ instance, metadata: await metadataOf(instance), links: disks.links(instance.instanceId) })
}
process.stdout.write(`${JSON.stringify({ endpoint: server.endpoint, hosts: told })}\n`)
