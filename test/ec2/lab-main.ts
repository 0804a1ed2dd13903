import { createServer } from 'node:http'
import { loopDisks } from './loop-disks.ts'
import { InstanceMetadata } from './metadata.ts'
import { beside, Ec2Server, here } from './server.ts'

/*
 * EC2 for a lab: runs in one of its hosts at ADDRESS, with its disks in DIRECTORY there and links to them in LINKS, which all hosts see. Says in one
 * line of JSON where it is reached, where each instance asks for its metadata, and where the links to its disks are; tells at /calls of the metadata
 * what was asked of it; /full and /free there fill the instance with disks of somebody else.
 */

const [address = '', directory = '', links = ''] = process.argv.slice(2)
const instances = [here, beside]
const disks = await loopDisks(
  instances.map(({ instanceId }) => instanceId),
  directory,
  links,
)
const server = await Ec2Server.start({ disks, address })

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

const metadataOf = async (instance: typeof here): Promise<string> => {
  const metadata = new InstanceMetadata(() => instance)
  const listener = createServer((request, response) => {
    if (request.url === '/calls') response.end(JSON.stringify(server.journal))
    else if (request.url === '/full' || request.url === '/free') {
      fill(instance.instanceId, request.url === '/full')
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
