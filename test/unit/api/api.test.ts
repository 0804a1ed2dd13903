import { expect, test } from 'vitest'
import { type ApiServer, startApi } from '../../support/api-server.ts'
import { hostIds } from '../../support/fake-control.ts'
import { overUnix } from '../../support/unix-http.ts'

const call = async (
  api: ApiServer,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
) => {
  const text = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }
  const answer = await overUnix(api.socket, path, { method, headers, ...text })
  return { ...answer, body: answer.text === '' ? undefined : JSON.parse(answer.text) }
}

test('a volume is made, read, resized and removed, with ETag and If-Match', async () => {
  const api = await startApi()
  const made = await call(api, 'POST', '/v1/volumes', { name: 'db', sizeBytes: 1024, labels: { a: 'b' } })
  expect(made).toMatchObject({ status: 201, body: { name: 'db', owner: 'host1', sizeBytes: 1024, labels: { a: 'b' } } })
  expect(made.headers).toMatchObject({ location: '/v1/volumes/db', etag: '"1"' })

  const read = await call(api, 'GET', '/v1/volumes/db')
  expect(read.headers.etag).toBe('"1"')
  for (const field of ['id', 'name', 'owner', 'epoch', 'sizeBytes', 'pool', 'snapshots', 'replicas', 'partials']) {
    expect(read.body).toHaveProperty(field)
  }
  const resized = await call(api, 'PATCH', '/v1/volumes/db', { sizeBytes: 4096 }, { 'If-Match': '"1"' })
  expect(resized).toMatchObject({ status: 200, body: { sizeBytes: 4096 } })
  expect(resized.headers.etag).toBe('"2"')
  for (const stale of ['"1"', 'W/"2"', '"elsewhere"']) {
    const refused = await call(api, 'DELETE', '/v1/volumes/db', undefined, { 'If-Match': stale })
    expect(refused).toMatchObject({ status: 412, body: { code: 'PRECONDITION_FAILED' } })
  }
  expect((await call(api, 'DELETE', '/v1/volumes/db', undefined, { 'If-Match': '"2"' })).status).toBe(204)
  const gone = await call(api, 'DELETE', '/v1/volumes/db')
  expect(gone).toMatchObject({ status: 404, body: { code: 'NO_SUCH_VOLUME', status: 404 } })
  expect(gone.headers['content-type']).toBe('application/problem+json')
})

test('force is a flag', async () => {
  const api = await startApi()
  for (const [query, force] of [
    ['', false],
    ['?force', true],
    ['?force=true', true],
    ['?force=0', false],
  ] as const) {
    await call(api, 'POST', '/v1/volumes', { name: 'db' })
    expect((await call(api, 'DELETE', `/v1/volumes/db${query}`)).status).toBe(204)
    expect(api.control.calls.at(-1)).toBe(`removeVolume db ${JSON.stringify({ force })}`)
  }
  expect((await call(api, 'DELETE', '/v1/volumes/db?force=maybe')).body.detail).toMatch(/force/)
})

test('lists come in pages that stay whole while volumes come and go', async () => {
  const api = await startApi()
  for (const name of ['e', 'c', 'a', 'd', 'b']) await call(api, 'POST', '/v1/volumes', { name })
  const first = await call(api, 'GET', '/v1/volumes?limit=2')
  expect(first.body.items.map(({ name }: { name: string }) => name)).toEqual(['a', 'b'])
  await call(api, 'DELETE', '/v1/volumes/b')
  await call(api, 'POST', '/v1/volumes', { name: 'aa' })
  const second = await call(api, 'GET', `/v1/volumes?limit=10&cursor=${first.body.nextCursor}`)
  expect(second.body.items.map(({ name }: { name: string }) => name)).toEqual(['c', 'd', 'e'])
  expect(second.body.nextCursor).toBeNull()
  expect((await call(api, 'GET', '/v1/volumes?cursor=x')).body).toMatchObject({ code: 'BAD_REQUEST' })
  expect((await call(api, 'GET', '/v1/volumes?limit=0')).body.detail).toMatch(/limit/)
  expect((await call(api, 'GET', '/v1/hosts')).body.items).toHaveLength(2)
  expect((await call(api, 'GET', '/v1/pools')).body.items[0]).toMatchObject({ host: 'host1', spec: 'btrfs:/pool' })
})

test('a move is planned, started, watched, refused twice and cancelled', async () => {
  const api = await startApi()
  api.control.running = false
  await call(api, 'POST', '/v1/volumes', { name: 'db' })
  const moves = '/v1/volumes/db/moves'
  expect(await call(api, 'POST', moves, { to: 'host2', dryRun: true })).toMatchObject({
    status: 200,
    body: { strategy: 'native-full', forecast: { downtimeMs: 800 } },
  })
  const started = await call(api, 'POST', moves, { to: 'host2', quiesce: 'pause', bwlimitBytes: 1000 })
  expect(started).toMatchObject({ status: 202, body: { request: { quiesce: 'pause', healthTimeoutMs: 60_000 } } })
  const location = String(started.headers.location)
  expect((await call(api, 'GET', location)).body).toMatchObject({ state: 'open', volumeName: 'db' })
  expect(await call(api, 'POST', moves, { to: 'host2' })).toMatchObject({
    status: 409,
    body: { code: 'MOVE_UNDER_WAY' },
  })
  expect((await call(api, 'GET', '/v1/moves?open&volume=db')).body.items).toHaveLength(1)
  expect(await call(api, 'DELETE', location)).toMatchObject({ status: 202, body: { cancelRequested: true } })
  api.control.step(location.split('/').at(-1) ?? '')
  expect((await call(api, 'GET', '/v1/moves?open=true')).body.items).toEqual([])
  expect(await call(api, 'DELETE', location)).toMatchObject({ status: 409, body: { code: 'TOO_LATE' } })
  expect(await call(api, 'GET', '/v1/moves/nothing')).toMatchObject({ status: 404, body: { code: 'NO_SUCH_MOVE' } })
  const other = await call(api, 'POST', moves, { to: 'host9' })
  expect(other).toMatchObject({ status: 404, body: { code: 'NO_SUCH_HOST' } })
})

test('malformed JSON, wrong types, unknown fields and large bodies are told, and nothing is made', async () => {
  const api = await startApi()
  const malformed = await call(api, 'POST', '/v1/volumes', '{"name": "db",,}')
  expect(malformed).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
  expect(malformed.body.detail).toMatch(/position 14|line 1 column 15/)
  const wrong = await call(api, 'POST', '/v1/volumes', { name: 7, sizeBytes: '10G', colour: 'red', labels: { a: 1 } })
  expect(wrong.body.detail).toMatch(/name: .*sizeBytes: .*labels\.a: .*colour: there is no such field/)
  expect(wrong.body.details.fields.map(({ field }: { field: string }) => field)).toEqual([
    'name',
    'sizeBytes',
    'labels.a',
    'colour',
  ])
  expect((await call(api, 'POST', '/v1/volumes', '')).body.detail).toMatch(/name/)
  expect((await call(api, 'POST', '/v1/volumes', '[]')).status).toBe(400)
  expect((await call(api, 'POST', '/v1/volumes', { name: '../../etc' })).body.code).toBe('BAD_NAME')
  expect((await call(api, 'GET', '/v1/volumes?colour=red')).body.detail).toMatch(/colour/)
  const large = await call(api, 'POST', '/v1/volumes', JSON.stringify({ name: 'x'.repeat(10_000_000) }))
  expect(large).toMatchObject({ status: 413, body: { code: 'BODY_TOO_LARGE' } })
  expect(api.control.rows.size).toBe(0)
})

test('an unknown address, method or encoding is a problem too', async () => {
  const api = await startApi()
  for (const [method, path] of [
    ['GET', '/v1/nothing'],
    ['PUT', '/v1/volumes'],
    ['GET', '/v1/volumes/'],
    ['GET', '/'],
  ]) {
    expect(await call(api, method ?? '', path ?? '')).toMatchObject({ status: 404, body: { code: 'NO_SUCH_ROUTE' } })
  }
  expect(await call(api, 'GET', '/v1/volumes/%E0%A4%A')).toMatchObject({ status: 400, body: { code: 'BAD_REQUEST' } })
})

test('Idempotency-Key: once, again, another request, and while it is under way', async () => {
  const api = await startApi()
  const key = { 'Idempotency-Key': 'k1' }
  const first = await call(api, 'POST', '/v1/volumes', { name: 'db' }, key)
  const again = await call(api, 'POST', '/v1/volumes', { name: 'db' }, key)
  expect(again).toMatchObject({ status: 201, body: first.body })
  expect(again.headers).toMatchObject({ location: '/v1/volumes/db', etag: '"1"', 'idempotency-replayed': 'true' })
  const other = await call(api, 'POST', '/v1/volumes', { name: 'db2' }, key)
  expect(other).toMatchObject({ status: 422, body: { code: 'IDEMPOTENCY_MISMATCH' } })
  expect([...api.control.rows.keys()]).toEqual(['db'])

  const gate = Promise.withResolvers<void>()
  const entered = Promise.withResolvers<void>()
  const create = api.control.createVolume.bind(api.control)
  api.control.createVolume = async (request) => {
    entered.resolve()
    await gate.promise
    return create(request)
  }
  const slow = call(api, 'POST', '/v1/volumes', { name: 'slow' }, { 'Idempotency-Key': 'k2' })
  await entered.promise
  expect((await call(api, 'POST', '/v1/volumes', { name: 'slow' }, { 'Idempotency-Key': 'k2' })).status).toBe(409)
  gate.resolve()
  expect((await slow).status).toBe(201)
})

test('a refused request is tried again with its key; a plan is never kept', async () => {
  const api = await startApi()
  await call(api, 'POST', '/v1/volumes', { name: 'db' })
  const key = { 'Idempotency-Key': 'k1' }
  expect((await call(api, 'POST', '/v1/volumes', { name: 'db' }, key)).status).toBe(409)
  await call(api, 'DELETE', '/v1/volumes/db')
  expect((await call(api, 'POST', '/v1/volumes', { name: 'db' }, key)).status).toBe(201)
  await call(api, 'POST', '/v1/volumes/db/moves', { to: 'host2', dryRun: true }, { 'Idempotency-Key': 'k2' })
  expect([...api.answers.keys()]).toEqual(['k1'])
})

test('over TLS all but join and health needs a certificate, and the socket keeps its own', async () => {
  const api = await startApi()
  const remote = async (path: string, init: RequestInit = {}) => {
    const answer = await fetch(`${api.remote}${path}`, init)
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  for (const path of [
    '/v1/volumes',
    '/v1/version',
    '/v1/openapi.json',
    '/metrics',
    '/agent/ping',
    '/nothing',
    '/V1/JOIN',
  ]) {
    expect(await remote(path)).toMatchObject({ status: 401, body: { code: 'UNAUTHENTICATED' } })
  }
  api.problems = ['a secret thing is wrong']
  expect(await remote('/healthz')).toEqual({ status: 503, body: { status: 'failing' } })
  const peer = { headers: { 'x-peer': hostIds[1] } }
  expect(await remote('/v1/volumes', peer)).toMatchObject({ status: 200 })
  expect(await remote('/agent/ping', peer)).toEqual({ status: 200, body: { peer: hostIds[1] } })
  for (const path of ['/v1/cluster/init', '/v1/cluster/join']) {
    expect(await remote(path, { ...peer, method: 'POST' })).toMatchObject({ status: 403, body: { code: 'FORBIDDEN' } })
  }
  expect((await call(api, 'GET', '/agent/ping')).status).toBe(403)
  const joining = { secret: 's', csrPem: 'c', hostName: 'host2', address: 'a:1', dataAddress: 'a:2', pools: [] }
  const joined = await remote('/v1/join', { method: 'POST', body: JSON.stringify(joining) })
  expect(joined).toMatchObject({ status: 200, body: { certPem: 'cert' } })
  // A volume made through host2 lives on host2 unless another host is named.
  const made = await remote('/v1/volumes', { ...peer, method: 'POST', body: JSON.stringify({ name: 'db' }) })
  expect(made).toMatchObject({ status: 201, body: { owner: 'host2' } })
})

test('local endpoints: version, health, metrics, tokens, init, join', async () => {
  const api = await startApi()
  expect((await call(api, 'GET', '/v1/version')).body).toMatchObject({ hostName: 'host1', control: true })
  expect((await call(api, 'GET', '/healthz')).body).toEqual({ status: 'ok', problems: [] })
  expect((await overUnix(api.socket, '/metrics')).text).toMatch(
    /drover_http_request_duration_seconds_count\{method="get",route="\/v1\/version",status="200"\} 1/,
  )
  expect(await call(api, 'POST', '/v1/tokens', '')).toMatchObject({ status: 201, body: { token: 'tok' } })
  expect(await call(api, 'POST', '/v1/cluster/init', {})).toMatchObject({ status: 200, body: { token: 'tok' } })
  const joined = await call(api, 'POST', '/v1/cluster/join', { address: 'h:1', token: 'good' })
  expect(joined).toMatchObject({ status: 200, body: { hostName: 'host2' } })
  expect(api.joins).toEqual([{ address: 'h:1', token: 'good', adopt: false }])
  expect((await call(api, 'DELETE', '/v1/hosts/host9')).body.code).toBe('NO_SUCH_HOST')
  expect((await call(api, 'DELETE', '/v1/hosts/host2')).status).toBe(204)
})

test('a defect is INTERNAL, and the server lives on', async () => {
  const api = await startApi()
  api.control.volumes = async () => {
    throw new TypeError('cannot read the unreadable')
  }
  expect(await call(api, 'GET', '/v1/volumes')).toMatchObject({ status: 500, body: { code: 'INTERNAL' } })
  expect((await call(api, 'GET', '/v1/hosts')).status).toBe(200)
})
