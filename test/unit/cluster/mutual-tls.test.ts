import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer as createHttpsServer } from 'node:https'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connect, type TLSSocket } from 'node:tls'
import { afterEach, expect, test } from 'vitest'
import { createAuthority, openAuthority } from '../../../src/cluster/certificate-authority.ts'
import type { ClusterServer } from '../../../src/cluster/cluster.ts'
import { tlsIdentity } from '../../../src/cluster/tls-options.ts'
import { DroverError, hasCode } from '../../../src/domain/errors.ts'
import { systemClock } from '../../../src/lib/clock.ts'
import { Cleanup, freshCluster, furtherHost } from './harness.ts'

const cleanup = new Cleanup()
afterEach(() => cleanup.run())

/** Answers who asked, how, and how many bytes came. */
const echo =
  (cluster: ClusterServer): Parameters<Cleanup['serve']>[1] extends (c: ClusterServer) => infer L ? L : never =>
  async (request, response) => {
    let bytes = 0
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes < 10_000) chunks.push(chunk)
    }
    response.setHeader('content-type', 'application/json')
    response.setHeader('x-two', ['a', 'b'])
    response.end(
      JSON.stringify({
        peer: cluster.peerOf(request),
        method: request.method,
        path: request.url,
        type: request.headers['content-type'] ?? null,
        bytes,
        text: Buffer.concat(chunks).toString(),
      }),
    )
  }

const unreachable = (work: Promise<unknown>, message: RegExp, reason?: string) =>
  expect(work).rejects.toSatisfy(
    (error) =>
      hasCode(error, 'HOST_UNREACHABLE') &&
      message.test(error.message) &&
      (reason === undefined || error.details.reason === reason),
    `rejects with HOST_UNREACHABLE ${message}`,
  )

/** Two hosts of one cluster, the first with a server. */
const pair = async (handler: Parameters<Cleanup['serve']>[1] = echo, isMember?: Parameters<Cleanup['serve']>[2]) => {
  const control = await freshCluster(cleanup)
  const second = await furtherHost(control)
  const server = await cleanup.serve(control.identity, handler, isMember)
  const peer = { address: server.address, hostId: control.identity.hostId }
  return { control, second, server, peer, client: cleanup.client(second) }
}

test('two hosts of a cluster know each other', async () => {
  const { client, peer, second } = await pair()
  const answer = await client.request(peer, '/x?y=1', { method: 'POST', body: { a: 'ä' } })
  expect(answer).toMatchObject({ status: 200, headers: { 'x-two': 'a, b' } })
  expect(answer.body).toEqual({
    peer: second.hostId,
    method: 'POST',
    path: '/x?y=1',
    type: 'application/json',
    bytes: 10,
    text: '{"a":"ä"}',
  })
  expect((await client.request(peer, '/')).body).toMatchObject({ method: 'GET', bytes: 0, type: null })
})

test('AES-128-GCM is agreed on, under TLS 1.3 and 1.2, and nothing older', async () => {
  const { server, second } = await pair()
  const [host, port] = server.address.split(':')
  const options = { host, port: Number(port), ...tlsIdentity(second), checkServerIdentity: () => undefined }
  const cipherWith = async (maxVersion: 'TLSv1.3' | 'TLSv1.2') => {
    const socket = connect({ ...options, maxVersion })
    await once(socket, 'secureConnect')
    const cipher = socket.getCipher()
    socket.destroy()
    return cipher.standardName
  }
  expect(await cipherWith('TLSv1.3')).toBe('TLS_AES_128_GCM_SHA256')
  expect(await cipherWith('TLSv1.2')).toBe('TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256')
  const old = connect({ ...options, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' })
  await expect(once(old, 'secureConnect')).rejects.toThrow()
  old.destroy()
})

test('a host of another cluster is nobody to the server, and refuses the server itself', async () => {
  const { server, peer } = await pair()
  const stranger = await freshCluster(cleanup)
  await unreachable(cleanup.client(stranger.identity).request(peer, '/'), /not the host that is meant/, 'certificate')
  // One that trusts the server's CA, but shows a certificate of its own CA.
  const liar = { ...stranger.identity, caPem: (await caOf(server)).toString() }
  const { body } = await rawRequest(server.address, { ...tlsIdentity(stranger.identity), ca: liar.caPem })
  expect(body).toMatchObject({ peer: null })
})

const caOf = async (server: { address: string }) => {
  const [host, port] = server.address.split(':')
  const socket = connect({ host, port: Number(port), rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const ca = socket.getPeerX509Certificate()?.issuerCertificate
  socket.destroy()
  if (ca === undefined) throw new Error('the server sends its CA')
  return ca
}

/** An HTTPS request by hand, over one connection. */
const rawRequest = async (address: string, options: object): Promise<{ body: unknown; socket: TLSSocket }> => {
  const [host, port] = address.split(':')
  const socket = connect({ host, port: Number(port), checkServerIdentity: () => undefined, ...options })
  cleanup.defer(() => socket.destroy())
  await once(socket, 'secureConnect')
  return { body: await askOver(socket), socket }
}
const askOver = async (socket: TLSSocket): Promise<unknown> => {
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  let text = ''
  while (!/\r\n\r\n.*\}/s.test(text)) text += String((await once(socket, 'data'))[0])
  return JSON.parse(/\{.*\}/s.exec(text)?.[0] ?? '')
}

test('the same cluster name on a certificate of another CA is nobody', async () => {
  const { server, control } = await pair()
  const forger = await freshCluster(cleanup)
  const cluster = control.identity.clusterId
  const ca = await createAuthority(cluster, systemClock)
  const authority = await openAuthority({ ...ca, cluster, clock: systemClock })
  const forged = await furtherHost({ identity: { ...forger.identity, caPem: ca.caPem }, authority })
  const { body } = await rawRequest(server.address, { ...tlsIdentity(forged), ca: control.identity.caPem })
  expect(body).toMatchObject({ peer: null })
})

test('without a certificate one is nobody', async () => {
  const { server } = await pair()
  const { body } = await rawRequest(server.address, { rejectUnauthorized: false })
  expect(body).toMatchObject({ peer: null })
})

test('the CA itself, and a host that is no longer a member, are nobody', async () => {
  const { client, peer, second } = await pair(echo, (host) => host !== gone)
  const gone = second.hostId
  expect((await client.request(peer, '/')).body).toMatchObject({ peer: null })
})

test('a host other than the one that is meant is refused, also over a kept connection', async () => {
  const { client, peer, second } = await pair()
  const wrong = { ...peer, hostId: second.hostId }
  await unreachable(client.request(wrong, '/'), new RegExp(peer.hostId), 'certificate')
  await client.request(peer, '/')
  await nextTurn()
  await unreachable(client.request(wrong, '/'), new RegExp(peer.hostId), 'certificate')
  await client.request(peer, '/')
})

test('connections are kept and used again', async () => {
  const { client, peer, server } = await pair()
  let connections = 0
  server.server.on('secureConnection', () => {
    connections += 1
  })
  for (let count = 0; count < 5; count += 1) {
    await client.request(peer, '/')
    await nextTurn()
  }
  expect(connections).toBe(1)
})

test('a kept connection that the other end closed costs a repeatable request nothing', async () => {
  const sockets = new Set<TLSSocket>()
  let requests = 0
  const { client, peer, server } = await pair(() => (request, response) => {
    requests += 1
    // The second request meets a connection that dies under it, as when a server's idle time runs out just then.
    if (requests === 2) request.socket.destroy()
    else response.end('{}')
  })
  server.server.on('secureConnection', (socket: TLSSocket) => sockets.add(socket))
  await client.request(peer, '/')
  await nextTurn()
  expect((await client.request(peer, '/')).status).toBe(200)
  expect(requests).toBe(3)
  expect(sockets.size).toBe(2)
})

test('a request that changes something is not sent twice', async () => {
  let requests = 0
  const { client, peer } = await pair(() => (request, response) => {
    requests += 1
    if (requests === 2) request.socket.destroy()
    else response.end('{}')
  })
  await client.request(peer, '/')
  await nextTurn()
  await unreachable(client.request(peer, '/', { method: 'POST', body: {} }), /cannot be reached/)
  expect(requests).toBe(2)
})

test('a problem comes over as the error it was', async () => {
  const { client, peer } = await pair(() => (_request, response) => {
    response.writeHead(409, { 'content-type': 'application/problem+json' })
    const detail = 'volume db is in use on host1'
    response.end(JSON.stringify({ title: 't', status: 409, code: 'VOLUME_IN_USE', detail, details: { pid: 7 } }))
  })
  await expect(client.request(peer, '/')).rejects.toSatisfy(
    (error) =>
      hasCode(error, 'VOLUME_IN_USE') && error.message === 'volume db is in use on host1' && error.details.pid === 7,
  )
})

test('answers that are no problem and no JSON are an INTERNAL error that names the host', async () => {
  let body = 'null'
  const { client, peer } = await pair(() => (_request, response) => {
    response.writeHead(500)
    response.end(body)
  })
  for (body of ['null', '<html>', '{"code":"NO_SUCH_CODE"}', '']) {
    await expect(client.request(peer, '/')).rejects.toSatisfy(
      (error) => hasCode(error, 'INTERNAL') && error.message.includes(peer.address),
    )
  }
})

test('nobody there, no answer in time, a port that speaks no TLS: unreachable, naming the address', async () => {
  const { client, peer, server } = await pair(() => () => {})
  await unreachable(
    client.request(peer, '/', { timeoutMs: 50 }),
    new RegExp(`${server.address} did not answer within 50`),
  )
  await unreachable(client.stream(peer, '/', { timeoutMs: 50 }), /did not answer/, 'timeout')
  const plain = createServer((socket) => {
    socket.on('error', () => {})
    socket.resume().end('hello\n')
  })
  const address = await cleanup.listen(plain)
  await unreachable(client.request({ ...peer, address }, '/'), new RegExp(address), 'connection')
  const closed = createServer()
  const free = await new Promise<string>((resolve) =>
    closed.listen(0, '127.0.0.1', () => {
      const bound = closed.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0
      closed.close(() => resolve(`127.0.0.1:${port}`))
    }),
  )
  await unreachable(client.request({ ...peer, address: free }, '/'), new RegExp(`${free}.*ECONNREFUSED`), 'connection')
  await unreachable(client.request({ ...peer, address: 'no-such-host.invalid:1' }, '/'), /no-such-host/, 'connection')
  await expect(client.request({ ...peer, address: 'nonsense' }, '/')).rejects.toSatisfy((e) =>
    hasCode(e, 'BAD_REQUEST'),
  )
})

test('an abort ends the request with its own reason', async () => {
  const { client, peer } = await pair(() => () => {})
  const abort = new AbortController()
  const reason = new DroverError('MOVE_CANCELLED', 'cancelled')
  const asked = client.request(peer, '/', { signal: abort.signal })
  abort.abort(reason)
  await expect(asked).rejects.toBe(reason)
})

test('an upload streams, whatever its size, and hears a refusal that comes early', async () => {
  const { client, peer } = await pair((cluster) => async (request, response) => {
    if (request.url === '/refused') {
      response.writeHead(507, { 'content-type': 'application/problem+json' })
      response.end(JSON.stringify({ code: 'NO_SPACE', detail: 'no space' }))
      request.resume()
      return
    }
    received = 0
    for await (const chunk of request as AsyncIterable<Buffer>) received += chunk.length
    type = `${request.headers['content-type']} ${cluster.peerOf(request) !== null}`
    response.end()
  })
  let received = 0
  let type = ''
  const megabytes = function* (count: number) {
    for (let sent = 0; sent < count; sent += 1) yield Buffer.alloc(2 ** 20, sent)
  }
  await client.upload(peer, '/', Readable.from(megabytes(40)), { 'content-type': 'application/x-tar' })
  expect([received, type]).toEqual([40 * 2 ** 20, 'application/x-tar true'])
  await expect(client.upload(peer, '/refused', Readable.from(megabytes(40)), {})).rejects.toSatisfy((error) =>
    hasCode(error, 'NO_SPACE'),
  )
})

test('an upload whose source breaks fails', async () => {
  const { client, peer } = await pair()
  const source = Readable.from(
    (function* () {
      yield Buffer.alloc(1000)
      throw new DroverError('DOCKER_FAILED', 'the image broke off')
    })(),
  )
  await expect(client.upload(peer, '/', source, {})).rejects.toSatisfy((error) => hasCode(error, 'DOCKER_FAILED'))
})

test('a raw stream stays open beyond its deadline for the head, and gives errors as they are', async () => {
  const { client, peer } = await pair(() => (request, response) => {
    if (request.url === '/gone') {
      response.writeHead(404)
      response.end('no')
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('one')
    push = () => void response.end('two')
  })
  let push = () => {}
  const stream = await client.stream(peer, '/events', { timeoutMs: 200 })
  const [first] = await once(stream, 'data')
  await new Promise((resolve) => setTimeout(resolve, 300))
  push()
  const [second] = await once(stream, 'data')
  expect([String(first), String(second)]).toEqual(['one', 'two'])
  expect((await client.stream(peer, '/gone', {})).statusCode).toBe(404)
})

test('the identity changes without a restart: new connections are of the new cluster, old ones count no more', async () => {
  const gate = Promise.withResolvers<void>()
  const arrived = Promise.withResolvers<void>()
  let waiting = 0
  const { control, server, peer, client, second } = await pair((cluster) => async (request, response) => {
    if (request.url === '/late') {
      waiting += 1
      if (waiting === 2) arrived.resolve()
      await gate.promise
    }
    await echo(cluster)(request, response)
  })
  const other = await freshCluster(cleanup)
  const moved = await furtherHost(other)
  const kept = await rawRequest(server.address, { ...tlsIdentity(second) })
  expect(kept.body).toMatchObject({ peer: second.hostId })
  // The CA that is left signs, while it still counts, for a host of the cluster that is joined.
  const caKeyPem = await readFile(join(control.dataDir, 'cluster', 'ca-key.pem'), 'utf8')
  const cluster = other.identity.clusterId
  const authority = await openAuthority({ caPem: control.identity.caPem, caKeyPem, cluster, clock: systemClock })
  const forged = cleanup.client(await furtherHost({ identity: control.identity, authority }))
  const underWay = [client.request(peer, '/late'), forged.request(peer, '/late')]
  await arrived.promise

  const closed = once(kept.socket, 'close')
  server.setIdentity(moved)
  await closed
  gate.resolve()
  for (const answer of await Promise.all(underWay)) expect(answer.body).toMatchObject({ peer: null })
  await unreachable(cleanup.client(second).request(peer, '/'), /not the host that is meant/, 'certificate')

  client.setIdentity(other.identity)
  const answer = await client.request({ address: server.address, hostId: moved.hostId }, '/')
  expect(answer.body).toMatchObject({ peer: other.identity.hostId })
})

test('a server whose certificate has expired is refused', async () => {
  const past = { now: () => Date.now() - 900 * 86_400_000, monotonic: () => 0, sleep: async () => {} }
  const old = await freshCluster(cleanup, past)
  const expired = createHttpsServer(tlsIdentity(old.identity), (_request, response) => response.end('{}'))
  const address = await cleanup.listen(expired)
  await unreachable(
    cleanup.client(old.identity).request({ address, hostId: old.identity.hostId }, '/'),
    /certificate of the host at .* has ended; run vol token/,
    'expired',
  )
})
