import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import type { Identity } from '../../../src/cluster/cluster.ts'
import { loadMember } from '../../../src/cluster/identity-files.ts'
import { OwnIdentity } from '../../../src/cluster/own-identity.ts'
import {
  certificateProblems,
  endOfCertificate,
  isRenewalDue,
  makeRenewalRequest,
  signRenewal,
} from '../../../src/cluster/renewal.ts'
import { hasCode } from '../../../src/domain/errors.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { Cleanup, freshCluster, furtherHost, movableClock } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

const dayMs = 86_400_000

/** A control host whose clock a test moves, and its own identity as `vold` holds it. */
const controlHost = async (daysAgo = 0) => {
  const clock = movableClock()
  clock.advance(-daysAgo * dayMs)
  const control = await freshCluster(cleanup, clock)
  const own = new OwnIdentity(control.dataDir, control)
  const sign = async (identity: Identity) =>
    signRenewal(control.authority, identity.clusterId, identity.hostId, await makeRenewalRequest(identity))
  return { ...control, clock, own, sign }
}

const refused = (work: Promise<unknown>) => expect(work).rejects.toSatisfy((error) => hasCode(error, 'FORBIDDEN'))

test('it is due sixty days before the end, whatever the end is', async () => {
  const { identity, clock } = await controlHost()
  const leftAfter = (days: number) => isRenewalDue(identity.certPem, clock.now() + days * dayMs)
  expect([leftAfter(0), leftAfter(764), leftAfter(766), leftAfter(900)]).toEqual([false, false, true, true])
})

test('a renewed certificate is of the same host and key, on disk, and lasts longer', async () => {
  const { identity, clock, own, dataDir, sign } = await controlHost()
  clock.advance(800 * dayMs)
  await own.renew(await sign(identity))
  const { current } = own
  expect(current).toEqual({ ...identity, certPem: current.certPem, fingerprint: current.fingerprint })
  expect(current.fingerprint).not.toBe(identity.fingerprint)
  expect(endOfCertificate(current.certPem) - endOfCertificate(identity.certPem)).toBe(800 * dayMs)
  expect(await loadMember(dataDir, clock)).toMatchObject({ identity: current })
  expect(own.authority).not.toBeNull()
  // The CA and its key stay.
  await readFile(join(dataDir, 'cluster', 'ca-key.pem'))
})

test('one that ends no later changes nothing; late and repeated calls are harmless', async () => {
  const { identity, clock, own, sign } = await controlHost()
  const followed: Identity[] = []
  own.follow((next) => followed.push(next))
  clock.advance(800 * dayMs)
  const renewed = await sign(identity)
  await own.renew(renewed)
  await own.renew(renewed)
  await own.renew(identity.certPem)
  expect(followed).toHaveLength(1)
})

test("what is not this host's is not taken, and what is not shown is not signed", async () => {
  const { identity, authority, own, sign } = await controlHost()
  const other = await furtherHost({ identity, authority })
  const stranger = await freshCluster(cleanup)
  await refused(own.renew(other.certPem))
  await refused(own.renew(stranger.identity.certPem))
  await refused(own.renew('nonsense'))
  expect(own.current).toBe(identity)
  const { clusterId, hostId } = identity
  const { certPem } = identity
  const { csrPem } = await makeRenewalRequest(other)
  await refused(signRenewal(authority, clusterId, hostId, { certPem, csrPem }))
  await refused(signRenewal(authority, clusterId, hostId, { certPem: other.certPem, csrPem }))
  await refused(signRenewal(authority, clusterId, hostId, { certPem: 'nonsense', csrPem }))
  await refused(sign({ ...stranger.identity, clusterId, hostId }))
})

test('servers and clients use the new one at once, and what is connected goes on', async () => {
  const gate = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  const { identity, authority, clock, own, sign } = await controlHost(800)
  const server = await cleanup.serve(identity, (cluster) => async (request, response) => {
    if (request.url === '/slow') {
      arrived.resolve()
      await gate.promise
    }
    response.end(JSON.stringify({ peer: cluster.peerOf(request) }))
  })
  const seen: string[] = []
  server.server.on('secureConnection', (socket: TLSSocket) =>
    seen.push(socket.getPeerX509Certificate()?.serialNumber ?? ''),
  )
  own.follow((next) => server.setIdentity(next))
  const second = await furtherHost({ identity, authority })
  const shown = async () => {
    const [host, port] = server.address.split(':')
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const certificate = socket.getPeerX509Certificate()?.toString()
    socket.destroy()
    return certificate?.trim()
  }
  const client = cleanup.client(second)
  const peer = { address: server.address, hostId: identity.hostId }
  const asks = { body: { peer: second.hostId } }
  await client.request(peer, '/')
  await nextTurn()
  const slow = client.request(peer, '/slow')
  await arrived.promise

  clock.advance(800 * dayMs)
  await own.renew(await sign(identity))
  gate.resolve()
  expect(await slow).toMatchObject(asks)
  await nextTurn()
  expect(await client.request(peer, '/', { method: 'POST', body: {} })).toMatchObject(asks)
  expect(seen).toHaveLength(1)
  expect(await shown()).toBe(own.current.certPem.trim())
  const fresh = cleanup.client(second)
  expect(await fresh.request(peer, '/')).toMatchObject(asks)

  const renewed = { ...second, certPem: await sign(second) }
  client.setIdentity(renewed)
  expect(await client.request(peer, '/')).toMatchObject(asks)
  expect(new Set(seen.filter((serial) => serial !== '')).size).toBe(2)
})

test('a host whose certificate has ended says so, and what to do', async () => {
  const { identity, clock } = await controlHost()
  expect(certificateProblems(identity, systemClock)).toEqual([])
  clock.advance(826 * dayMs)
  expect(certificateProblems(identity, clock)).toMatchObject([/vol join 127.0.0.1:1 --token/])
})
