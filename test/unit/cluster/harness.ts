import { mkdtemp, rm } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fingerprintOf, generateKeys, makeCsr, privateKeyPem } from '../../../src/cluster/certificates.ts'
import type { CertificateAuthority, ClusterServer, Identity } from '../../../src/cluster/cluster.ts'
import { createMember, newHostId } from '../../../src/cluster/identity-files.ts'
import { createPeerClient } from '../../../src/cluster/peer-client.ts'
import { createClusterServer } from '../../../src/cluster/tls-server.ts'
import { type Clock, systemClock } from '../../../src/lib/clock.ts'

/** What a test opened, closed in reverse order whatever happens. */
export class Cleanup {
  readonly #actions: (() => unknown)[] = []

  defer(action: () => unknown): void {
    this.#actions.push(action)
  }

  async run(): Promise<void> {
    for (const action of this.#actions.splice(0).reverse()) await action()
  }

  async directory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'drover-cluster-'))
    this.defer(() => rm(path, { recursive: true, force: true }))
    return path
  }

  /** Listens on a free loopback port. */
  async listen(server: Server): Promise<string> {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    this.defer(
      () =>
        new Promise<void>((resolve) => {
          server.close(() => resolve())
          if ('closeAllConnections' in server && typeof server.closeAllConnections === 'function') {
            server.closeAllConnections()
          }
        }),
    )
    return `127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  client(identity: Identity) {
    const client = createPeerClient(identity)
    this.defer(() => client.close())
    return client
  }

  /** A cluster's server; its handler sees the `peerOf` of it. */
  async serve(
    identity: Identity,
    handler: (cluster: ClusterServer) => RequestListener,
    isMember?: Parameters<typeof createClusterServer>[0]['isMember'],
  ): Promise<ClusterServer & { address: string }> {
    const cluster: ClusterServer = createClusterServer({
      identity,
      handler: (request, response) => handler(cluster)(request, response),
      ...(isMember === undefined ? {} : { isMember }),
    })
    return { ...cluster, address: await this.listen(cluster.server) }
  }
}

/** A fresh one-host cluster in a directory of its own. */
export const freshCluster = async (cleanup: Cleanup, clock: Clock = systemClock) => {
  const dataDir = await cleanup.directory()
  const { identity, authority } = await createMember({ dataDir, hostName: 'host1', address: '127.0.0.1:1', clock })
  if (authority === null) throw new Error('a fresh cluster has a CA')
  return { dataDir, identity, authority }
}

/** A further host, signed by the CA, without a join. */
export const furtherHost = async (
  control: { identity: Identity; authority: CertificateAuthority },
  clock: Clock = systemClock,
): Promise<Identity> => {
  const keys = await generateKeys()
  const hostId = newHostId(clock)
  const certPem = await control.authority.sign(await makeCsr(keys), hostId)
  return {
    ...control.identity,
    hostId,
    hostName: 'host2',
    control: false,
    certPem,
    keyPem: await privateKeyPem(keys),
    fingerprint: fingerprintOf(certPem),
  }
}

/** A clock that a test moves. */
export const movableClock = (): Clock & { advance(ms: number): void } => {
  let offset = 0
  return {
    ...systemClock,
    now: () => Date.now() + offset,
    advance: (ms) => {
      offset += ms
    },
  }
}
