import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { acceptJoin } from '../../../src/cluster/accept-join.ts'
import { createAuthority, openAuthority } from '../../../src/cluster/certificate-authority.ts'
import type { Identity, JoinRequest } from '../../../src/cluster/cluster.ts'
import { loadMember } from '../../../src/cluster/identity-files.ts'
import { requestJoin } from '../../../src/cluster/join.ts'
import { makeRenewalRequest, signRenewal } from '../../../src/cluster/renewal.ts'
import { tlsBasics, tlsIdentity } from '../../../src/cluster/tls-options.ts'
import { formatToken, parseToken } from '../../../src/cluster/token.ts'
import { openTokenBook } from '../../../src/cluster/token-book.ts'
import { asDroverError, DroverError, type ErrorCode, hasCode } from '../../../src/domain/errors.ts'
import type { Host } from '../../../src/domain/host.ts'
import { Cleanup, freshCluster, furtherHost, movableClock } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

/** A control host that takes joins, as the API does it. */
const controlHost = async () => {
  const clock = movableClock()
  const control = await freshCluster(cleanup, clock)
  const tokens = openTokenBook({ dataDir: control.dataDir, caFingerprint: control.authority.caFingerprint, clock })
  const hosts: Host[] = []
  const register = async (host: Host) => {
    if (hosts.some((known) => known.name === host.name)) throw new DroverError('HOST_EXISTS', `${host.name} is taken`)
    hosts.push(host)
  }
  const members = async () => hosts
  const update = async (host: Host) => {
    hosts.splice(
      hosts.findIndex(({ id }) => id === host.id),
      1,
      host,
    )
  }
  const server = await cleanup.serve(control.identity, (cluster) => async (request, response) => {
    try {
      if (request.url !== '/v1/join') {
        response.end(JSON.stringify({ peer: cluster.peerOf(request) }))
        return
      }
      const chunks: Buffer[] = []
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
      const body = JSON.parse(Buffer.concat(chunks).toString()) as JoinRequest
      response.end(JSON.stringify(await acceptJoin({ ...control, tokens, clock, register, members, update }, body)))
    } catch (thrown) {
      const error = asDroverError(thrown)
      response.writeHead(error.kind.status, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ code: error.code, detail: error.message }))
    }
  })
  return { ...control, tokens, clock, hosts, members, update, server }
}

const joiner = async (address: string, token: string, hostName = 'host2') => {
  const own = await freshCluster(cleanup)
  const options = {
    address,
    token,
    hostName,
    ownAddress: '10.0.0.2:7460',
    ownDataAddress: '10.0.0.2:7461',
    pools: ['btrfs:/pool'],
    dataDir: own.dataDir,
    clock: movableClock(),
  }
  return { own, join: () => requestJoin(options) }
}

/** The host joins again as who it is, with the certificate that `identity` has. */
const joinAgain = async (dataDir: string, identity: Identity, address: string, token: string) =>
  requestJoin({
    ...{ address, token, hostName: identity.hostName, renews: identity, dataDir, clock: movableClock() },
    ...{ ownAddress: '10.0.0.9:7460', ownDataAddress: '10.0.0.9:7461', pools: ['btrfs:/pool'] },
  })

const fails = (work: Promise<unknown>, code: ErrorCode, message = /./) =>
  expect(work).rejects.toSatisfy(
    (error) => hasCode(error, code) && message.test(error.message) && !error.message.includes('\n'),
    `rejects with ${code} ${message}`,
  )

/** The joiner is who it was before. */
const unchanged = async (own: Awaited<ReturnType<typeof freshCluster>>) =>
  expect((await loadMember(own.dataDir, movableClock()))?.identity).toEqual(own.identity)

test('a token makes a host a member, whose certificate works at once and after a restart', async () => {
  const control = await controlHost()
  const { own, join: run } = await joiner(control.server.address, await control.tokens.issue(60_000))
  const identity = await run()
  expect(identity).toMatchObject({
    clusterId: control.identity.clusterId,
    hostName: 'host2',
    control: false,
    controlAddress: control.server.address,
    controlHostId: control.identity.hostId,
  })
  expect(control.hosts).toMatchObject([
    {
      id: identity.hostId,
      name: 'host2',
      address: '10.0.0.2:7460',
      dataAddress: '10.0.0.2:7461',
      pools: ['btrfs:/pool'],
      control: false,
      fingerprint: identity.fingerprint,
    },
  ])
  expect(await loadMember(own.dataDir, movableClock())).toEqual({ identity, authority: null })
  const peer = { address: identity.controlAddress, hostId: identity.controlHostId }
  const { body } = await cleanup.client(identity).request(peer, '/')
  expect(body).toEqual({ peer: identity.hostId })
  const file = join(own.dataDir, 'cluster', 'identity.json')
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  expect(await readFile(file, 'utf8')).not.toContain(own.identity.clusterId)
})

test('a token is good for one host', async () => {
  const control = await controlHost()
  const token = await control.tokens.issue(60_000)
  await (await joiner(control.server.address, token, 'host2')).join()
  const { own, join: again } = await joiner(control.server.address, token, 'host3')
  await fails(again(), 'TOKEN_INVALID')
  await unchanged(own)
  expect(control.hosts).toHaveLength(1)
})

test('of hosts that race with one token one joins', async () => {
  const control = await controlHost()
  const token = await control.tokens.issue(60_000)
  const joiners = await Promise.all(['a', 'b', 'c'].map((name) => joiner(control.server.address, token, name)))
  const results = await Promise.allSettled(joiners.map(({ join: run }) => run()))
  expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1)
  expect(control.hosts).toHaveLength(1)
})

test('an expired one is refused', async () => {
  const control = await controlHost()
  const { own, join: run } = await joiner(control.server.address, await control.tokens.issue(60_000))
  control.clock.advance(61_000)
  await fails(run(), 'TOKEN_INVALID', /expired/)
  await unchanged(own)
})

test('a malformed or tampered one is refused', async () => {
  const control = await controlHost()
  const token = await control.tokens.issue(60_000)
  const parsed = parseToken(token)
  const wrongSecret = formatToken({ ...parsed, secret: 'f'.repeat(64) })
  for (const bad of ['', 'x', token.slice(0, 50), wrongSecret]) {
    const { own, join: run } = await joiner(control.server.address, bad)
    await fails(run(), 'TOKEN_INVALID')
    await unchanged(own)
  }
  const wrongPin = formatToken({ ...parsed, caFingerprint: '0'.repeat(64) })
  await fails((await joiner(control.server.address, wrongPin)).join(), 'UNAUTHENTICATED', /nothing was sent/)
  await (await joiner(control.server.address, token)).join()
})

test('a name that is taken leaves the token usable', async () => {
  const control = await controlHost()
  await (await joiner(control.server.address, await control.tokens.issue(60_000), 'taken')).join()
  const token = await control.tokens.issue(60_000)
  const { own, join: run } = await joiner(control.server.address, token, 'taken')
  await fails(run(), 'HOST_EXISTS')
  await unchanged(own)
  await (await joiner(control.server.address, token, 'free')).join()
})

/** A TLS server that notes every byte it can decrypt. */
const eavesdropper = async (options: object) => {
  const heard: Buffer[] = []
  const server = createTlsServer({ ...tlsBasics, ...options }, (socket: TLSSocket) => {
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      heard.push(chunk)
      socket.end('HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n')
    })
  })
  server.on('tlsClientError', () => {})
  return { address: await cleanup.listen(server), heard: () => Buffer.concat(heard).toString() }
}

test('another CA than the pinned one hears not a byte', async () => {
  const control = await controlHost()
  const impostor = await freshCluster(cleanup)
  const spy = await eavesdropper(tlsIdentity(impostor.identity))
  const { own, join: run } = await joiner(spy.address, await control.tokens.issue(60_000))
  await fails(run(), 'UNAUTHENTICATED', /nothing was sent/)
  expect(spy.heard()).toBe('')
  await unchanged(own)
})

test('an impostor that shows the pinned CA beside a certificate of its own hears not a byte', async () => {
  const control = await controlHost()
  const impostor = await freshCluster(cleanup)
  // A CA of the same name, whose key the impostor has: only the signature tells its certificates from true ones.
  const cluster = control.identity.clusterId
  const twin = await createAuthority(cluster, control.clock)
  const authority = await openAuthority({ ...twin, cluster, clock: control.clock })
  const forged = await furtherHost({ identity: control.identity, authority })
  const chain = (...pems: string[]) => pems.map((pem) => `${pem.trimEnd()}\n`).join('')
  const { certPem, caPem, keyPem } = impostor.identity
  const shown = [
    { key: keyPem, cert: chain(certPem, control.identity.caPem) },
    { key: keyPem, cert: chain(certPem, caPem, control.identity.caPem) },
    { key: forged.keyPem, cert: chain(forged.certPem, control.identity.caPem) },
    { key: forged.keyPem, cert: chain(forged.certPem, twin.caPem, control.identity.caPem) },
  ]
  for (const options of shown) {
    const spy = await eavesdropper(options)
    const { own, join: run } = await joiner(spy.address, await control.tokens.issue(60_000))
    await fails(run(), 'UNAUTHENTICATED', /nothing was sent/)
    expect(spy.heard()).toBe('')
    await unchanged(own)
  }
})

test("a certificate of the CA that is no host's is refused too", async () => {
  const control = await controlHost()
  const caKey = await readFile(join(control.dataDir, 'cluster', 'ca-key.pem'), 'utf8')
  const spy = await eavesdropper({ key: caKey, cert: control.identity.caPem })
  await fails((await joiner(spy.address, await control.tokens.issue(60_000))).join(), 'UNAUTHENTICATED')
  expect(spy.heard()).toBe('')
})

test('a broken request for a certificate leaves the token usable', async () => {
  const control = await controlHost()
  const token = await control.tokens.issue(60_000)
  const request: JoinRequest = {
    secret: parseToken(token).secret,
    csrPem: 'nonsense',
    hostName: 'host2',
    address: 'a:1',
    dataAddress: 'a:2',
    pools: [],
    volumes: [],
  }
  const accept = (changes: Partial<JoinRequest>) =>
    acceptJoin({ ...control, register: async () => {} }, { ...request, ...changes })
  await fails(accept({}), 'BAD_REQUEST')
  await fails(accept({ address: 'nonsense' }), 'BAD_REQUEST')
  await fails(accept({ hostName: '../x' }), 'BAD_NAME')
  await (await joiner(control.server.address, token)).join()
})

test('nobody there is unreachable, naming the address; a nonsense address is refused', async () => {
  const control = await controlHost()
  const token = await control.tokens.issue(60_000)
  const gone = await controlHost()
  const { address } = gone.server
  await new Promise<void>((resolve) => gone.server.server.close(() => resolve()))
  await fails((await joiner(address, token)).join(), 'HOST_UNREACHABLE', new RegExp(address))
  await fails((await joiner('nonsense', token)).join(), 'BAD_REQUEST')
  await fails((await joiner(control.server.address, token, 'bad name')).join(), 'BAD_NAME')
  await (await joiner(control.server.address, token)).join()
})

const dayMs = 86_400_000

test('a host whose certificate has ended joins again with a token, and stays who it is', async () => {
  const control = await controlHost()
  const { own, join: run } = await joiner(control.server.address, await control.tokens.issue(60_000))
  const joined = await run()
  control.clock.advance(-900 * dayMs)
  const request = await makeRenewalRequest(joined)
  const certPem = await signRenewal(control.authority, joined.clusterId, joined.hostId, request)
  control.clock.advance(900 * dayMs)
  const ended = { ...joined, certPem }
  const peer = { address: joined.controlAddress, hostId: joined.controlHostId }
  expect((await cleanup.client(ended).request(peer, '/')).body).toEqual({ peer: null })

  const again = await joinAgain(own.dataDir, ended, control.server.address, await control.tokens.issue(60_000))
  expect(again).toMatchObject({ hostId: joined.hostId, hostName: 'host2', keyPem: joined.keyPem, control: false })
  expect((await cleanup.client(again).request(peer, '/')).body).toEqual({ peer: joined.hostId })
  expect((await loadMember(own.dataDir, movableClock()))?.identity).toEqual(again)
  expect(control.hosts).toMatchObject([
    { id: joined.hostId, name: 'host2', address: '10.0.0.9:7460', fingerprint: again.fingerprint },
  ])
})

test('who shows the certificate of another host, or of none that is a member, gets nothing, and the token stays usable', async () => {
  const control = await controlHost()
  const first = await (await joiner(control.server.address, await control.tokens.issue(60_000), 'host2')).join()
  const { own, join: run } = await joiner(control.server.address, await control.tokens.issue(60_000), 'host3')
  const second = await run()
  const token = await control.tokens.issue(60_000)
  const thief = { ...first, keyPem: second.keyPem }
  const { csrPem } = await makeRenewalRequest(second)
  const asked = { secret: parseToken(token).secret, csrPem, renews: thief.certPem, hostName: 'host2' }
  const request = { ...asked, address: 'a:1', dataAddress: 'a:2', pools: [], volumes: [] }
  const accept = (renews: string) => acceptJoin({ ...control, register: async () => {} }, { ...request, renews })
  await fails(accept(thief.certPem), 'FORBIDDEN')
  await fails(accept('nonsense'), 'NO_SUCH_HOST')
  await fails(accept(control.identity.certPem), 'NO_SUCH_HOST')
  control.hosts.splice(0, 1)
  await fails(accept(first.certPem), 'NO_SUCH_HOST')
  await joinAgain(own.dataDir, second, control.server.address, token)
})
