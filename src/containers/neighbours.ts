import type { Exec } from '../lib/exec.ts'
import type { Logger } from '../lib/logger.ts'
import { type DockerClient, getJson, quickMs } from './docker-client.ts'
import { inspectContainer } from './uses.ts'
import type { WireEndpoint } from './wire.ts'

/** GET /networks/ID */
interface WireNetwork {
  readonly Id: string
  readonly Driver: string
  readonly Options?: Readonly<Record<string, string>> | null
}

export interface NeighbourParts {
  readonly client: DockerClient
  readonly exec: Exec
  readonly logger: Logger
}

/**
 * Tells this host's kernel where a container that was just started is. The engine publishes its ports before its interface is up: a
 * client that tries in between makes the kernel ask for the address in vain, and the kernel asks again only after a second, in
 * which nobody reaches the container. What cannot be told is left to that second.
 */
export const introduceContainer = async (
  { client, exec, logger }: NeighbourParts,
  containerId: string,
): Promise<void> => {
  try {
    const { NetworkSettings: settings } = await inspectContainer(client, containerId)
    const endpoints = Object.values(settings.Networks ?? {}).filter((endpoint) => endpoint !== null)
    await Promise.all(endpoints.map((endpoint) => introduce(client, exec, endpoint)))
  } catch (error) {
    logger.debug({ containerId, reason: String(error) }, 'the kernel finds the container by itself')
  }
}

const introduce = async (client: DockerClient, exec: Exec, endpoint: WireEndpoint): Promise<void> => {
  const { NetworkID: networkId, IPAddress: address, MacAddress: mac } = endpoint
  if (!networkId || !address || !mac) return
  const network = await client.call('describe a network', quickMs, getJson<WireNetwork>(`/networks/${networkId}`))
  if (network.Driver !== 'bridge') return
  const bridge = network.Options?.['com.docker.network.bridge.name'] ?? `br-${network.Id.slice(0, 12)}`
  // As if the container had answered: the kernel checks it again as it does with every neighbour.
  await exec.run(['ip', 'neigh', 'replace', address, 'lladdr', mac, 'dev', bridge, 'nud', 'reachable'])
}
