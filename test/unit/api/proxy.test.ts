import { get, type IncomingMessage } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { createControlProxy } from '../../../src/api/proxy.ts'
import { type ApiServer, startApi } from '../../support/api-server.ts'
import { overUnix } from '../../support/unix-http.ts'
import { Cleanup, freshCluster, furtherHost } from '../cluster/harness.ts'

/** host1 with the control role and host2 without, each with its API, joined by real mutual TLS. */
const startPair = async () => {
  const cleanup = new Cleanup()
  onTestFinished(() => cleanup.run())
  const cluster = await freshCluster(cleanup)
  const member = await furtherHost(cluster)
  let control: ApiServer | null = null
  const tls = await cleanup.serve(cluster.identity, () => (request, response) => control?.handler(request, response))
  control = await startApi({ peerOf: tls.peerOf })
  control.control.hostRows = control.control.hostRows.map((row) =>
    row.name === 'host2' ? { ...row, id: member.hostId } : row,
  )
  const place = { ...member, controlAddress: tls.address }
  const proxy = createControlProxy({ peers: cleanup.client(member), identity: () => place })
  const host2 = await startApi({ control: null, proxy })
  return { control, host2, tls }
}

const call = async (api: ApiServer, method: string, path: string, body?: unknown, headers = {}) => {
  const text = body === undefined ? {} : { body: JSON.stringify(body) }
  const answer = await overUnix(api.socket, path, { method, headers, ...text })
  return { ...answer, body: answer.text === '' ? undefined : JSON.parse(answer.text) }
}

test('the same requests on any host: answers, refusals, ETag, Idempotency-Key pass through', async () => {
  const { control, host2 } = await startPair()
  const key = { 'Idempotency-Key': 'k1' }
  const made = await call(host2, 'POST', '/v1/volumes', { name: 'db' }, key)
  // Made through host2, so it lives there.
  expect(made).toMatchObject({ status: 201, body: { name: 'db', owner: 'host2' } })
  expect(made.headers).toMatchObject({ location: '/v1/volumes/db', etag: '"1"' })
  expect((await call(host2, 'POST', '/v1/volumes', { name: 'db' }, key)).headers['idempotency-replayed']).toBe('true')
  const resized = await call(host2, 'PATCH', '/v1/volumes/db', { sizeBytes: 5 }, { 'If-Match': '"1"' })
  expect(resized).toMatchObject({ status: 200, body: { sizeBytes: 5 } })
  const stale = await call(host2, 'DELETE', '/v1/volumes/db?force=true', undefined, { 'If-Match': '"1"' })
  expect(stale).toMatchObject({ status: 412, body: { code: 'PRECONDITION_FAILED' } })
  expect(stale.headers['content-type']).toBe('application/problem+json')
  expect((await call(host2, 'POST', '/v1/volumes', { colour: 1 })).body.detail).toMatch(/colour/)
  expect((await call(host2, 'DELETE', '/v1/volumes/db?force=true')).status).toBe(204)
  expect(control.control.calls.at(-1)).toBe('removeVolume db {"force":true}')
})

test('what is about the host itself is answered there', async () => {
  const { host2 } = await startPair()
  expect((await call(host2, 'GET', '/v1/version')).body).toMatchObject({ control: false })
  expect((await call(host2, 'GET', '/healthz')).status).toBe(200)
  expect((await call(host2, 'GET', '/v1/openapi.json')).body.openapi).toBe('3.1.0')
})

test('events stream through, and a client that leaves is forgotten at the far end', async () => {
  const { control, host2 } = await startPair()
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ socketPath: host2.socket, path: '/v1/events', headers: { 'Last-Event-ID': '0' } }, resolve).on(
      'error',
      reject,
    )
  })
  response.on('error', () => {})
  let text = ''
  response.on('data', (chunk: Buffer) => {
    text += chunk.toString('utf8')
  })
  control.control.emit('news', { a: 1 })
  await expect.poll(() => text).toContain('event: news')
  expect(control.control.listeners.size).toBe(1)
  response.destroy()
  await expect.poll(() => control.control.listeners.size).toBe(0)
})

test('a control role that is away is CONTROL_UNREACHABLE, in one clear line', async () => {
  const { host2, tls } = await startPair()
  tls.server.closeAllConnections()
  await new Promise((resolve) => tls.server.close(resolve))
  const answer = await call(host2, 'GET', '/v1/volumes')
  expect(answer).toMatchObject({ status: 503, body: { code: 'CONTROL_UNREACHABLE', retryable: true } })
})

test('a request is passed on once: no circle between hosts that each think that another has control', async () => {
  const { host2 } = await startPair()
  const answer = await call(host2, 'GET', '/v1/volumes', undefined, { 'drover-via': 'host3' })
  expect(answer).toMatchObject({ status: 409, body: { code: 'NOT_CONTROL' } })
})
