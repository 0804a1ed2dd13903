import { request } from 'node:http'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/lib/clock.ts'
import { silentLogger } from '../../../src/lib/logger.ts'
import type { PluginLimits } from '../../../src/volume-plugin/calls.ts'
import { createVolumePlugin } from '../../../src/volume-plugin/plugin.ts'
import { MemoryVolumeService } from '../../support/memory-volume-service.ts'
import { temporaryDirectory } from '../../support/temporary-directory.ts'
import { overUnix, rawOverUnix } from '../../support/unix-http.ts'

const start = async (limits: Partial<PluginLimits> = {}) => {
  const service = new MemoryVolumeService()
  const plugin = createVolumePlugin({ service, logger: silentLogger, clock: systemClock, limits })
  const socket = await plugin.listen(await temporaryDirectory())
  onTestFinished(() => plugin.close())
  const post = async (name: string, body: unknown) => {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const answer = await overUnix(socket, `/${name}`, { method: 'POST', body: text })
    return { status: answer.status, headers: answer.headers, body: JSON.parse(answer.text) as Record<string, unknown> }
  }
  return { service, plugin, socket, post }
}

test('activates with an empty body, and is global', async () => {
  const { post } = await start()
  expect(await post('Plugin.Activate', '')).toMatchObject({ status: 200, body: { Implements: ['VolumeDriver'] } })
  expect(await post('VolumeDriver.Capabilities', '')).toMatchObject({ body: { Capabilities: { Scope: 'global' } } })
})

test('create, get, list, mount, path, unmount, remove as an engine sends them', async () => {
  const { post, service } = await start()
  expect(await post('VolumeDriver.List', {})).toMatchObject({ status: 200, body: { Volumes: [], Err: '' } })
  expect(await post('VolumeDriver.Create', { Name: 'db', Opts: null })).toMatchObject({ status: 200 })
  expect((await post('VolumeDriver.Get', { Name: 'db' })).body).toMatchObject({
    Volume: { Name: 'db', Mountpoint: '', CreatedAt: '2026-11-23T20:00:00.000Z', Status: { owner: 'host1' } },
  })
  expect((await post('VolumeDriver.Path', { Name: 'db' })).body).toMatchObject({ Mountpoint: '' })
  const mounted = await post('VolumeDriver.Mount', { Name: 'db', ID: 'a'.repeat(64) })
  const path = service.held.get('db')?.volume.mountpoint
  expect(mounted.body).toMatchObject({ Mountpoint: path })
  expect(path).toMatch(/^\/mnt\/.*\/data$/)
  expect((await post('VolumeDriver.Path', { Name: 'db' })).body).toMatchObject({ Mountpoint: path })
  expect(await post('VolumeDriver.Remove', { Name: 'db' })).toMatchObject({
    status: 500,
    body: { Err: 'VOLUME_IN_USE: volume db is mounted' },
  })
  expect(await post('VolumeDriver.Unmount', { Name: 'db', ID: 'a'.repeat(64) })).toMatchObject({ status: 200 })
  expect(await post('VolumeDriver.Remove', { Name: 'db' })).toMatchObject({ status: 200 })
  expect(await post('VolumeDriver.Get', { Name: 'db' })).toMatchObject({ status: 500 })
})

test('keeps no connection, so that none can close under a request', async () => {
  const { post } = await start()
  expect((await post('VolumeDriver.List', {})).headers.connection).toBe('close')
})

test.each(['Create', 'Mount', 'Unmount', 'Remove', 'Path'])(
  '%s of an incomplete request does nothing',
  async (call) => {
    const { post, service } = await start()
    for (const body of ['', '{', '[]', 'null', '{}', '{"Name":null}', '{"Name":7}', '{"Name":"db"']) {
      const answer = await post(`VolumeDriver.${call}`, body)
      expect([body, answer.status]).toEqual([body, 500])
      expect(answer.body.Err).toMatch(/^BAD_REQUEST: .*nothing was done/)
    }
    expect(service.log).toEqual([])
  },
)

test.each(['../../etc', 'a/b', 'a b', 'a\u0000b', '', '-x', 'x'.repeat(300)])(
  'name %j is refused before anything',
  async (name) => {
    const { post, service } = await start()
    for (const call of ['Create', 'Get', 'Mount', 'Remove']) {
      const answer = await post(`VolumeDriver.${call}`, { Name: name, ID: 'x', Opts: null })
      expect(answer.status).toBe(500)
      expect(answer.body.Err).toMatch(/^BAD_NAME: /)
    }
    expect(service.log).toEqual([])
  },
)

test('unknown options and options that are no texts are refused by name', async () => {
  const { post, service } = await start()
  const unknown = await post('VolumeDriver.Create', { Name: 'db', Opts: { colour: 'red' } })
  expect(unknown).toMatchObject({ status: 500, body: { Err: 'UNKNOWN_OPTION: there is no option colour' } })
  const number = await post('VolumeDriver.Create', { Name: 'db', Opts: { size: 7 } })
  expect(number.body.Err).toMatch(/^BAD_REQUEST: option "size"/)
  expect(service.held.size).toBe(0)
})

test('Get drops the connection when the truth is not known, and on a retry without a body', async () => {
  const { post, service, socket } = await start()
  await post('VolumeDriver.Create', { Name: 'db', Opts: {} })
  service.failure = new Error('the table of names is not there yet')
  await expect(post('VolumeDriver.Get', { Name: 'db' })).rejects.toThrow(/socket hang up|ECONNRESET/)
  await expect(post('VolumeDriver.Get', '')).rejects.toThrow(/socket hang up|ECONNRESET/)
  expect(await rawOverUnix(socket, 'POST /VolumeDriver.Get HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n')).toBe('')
  service.failure = null
  expect(await post('VolumeDriver.Get', { Name: 'db' })).toMatchObject({ status: 200 })
})

test('the Get without a name that an engine sends at boot is answered, and harmless', async () => {
  const { post, service } = await start()
  expect((await post('VolumeDriver.Get', { Name: '' })).body.Err).toMatch(/^BAD_NAME/)
  expect(service.log).toEqual([])
})

test('Mount never answers an empty path', async () => {
  const { post, service } = await start()
  service.mount = async () => ''
  const answer = await post('VolumeDriver.Mount', { Name: 'db', ID: 'x' })
  expect(answer).toMatchObject({ status: 500 })
  expect(answer.body.Mountpoint).toBeUndefined()
})

test('a call that outlasts its limit is answered with what is going on, and a late mount is undone', async () => {
  const { post, service } = await start({ mountMs: 20, lookupMs: 20 })
  await service.create('db', {})
  const open = service.block()
  const answer = await post('VolumeDriver.Mount', { Name: 'db', ID: 'x' })
  expect(answer).toMatchObject({ status: 500 })
  expect(answer.body.Err).toMatch(
    /^TIMED_OUT: Mount of volume "db" is still under way after 20 ms: it waits for 'btrfs subvolume show' \(pid 4711\) since 61 s; it goes on/,
  )
  await expect(post('VolumeDriver.Get', { Name: 'db' })).rejects.toThrow(/socket hang up|ECONNRESET/)
  open()
  await expect.poll(() => service.log).toContain('unmount db x')
  await expect.poll(() => service.held.get('db')?.volume.mountpoint).toBe('')
})

test('podman, which tells the type of its body, is answered in time; the same call again joins the one under way', async () => {
  const { post, service, socket } = await start({ briefMs: 20 })
  await service.create('db', {})
  const open = service.block()
  const body = { Name: 'db', ID: 'x' }
  const headers = { 'Content-Type': 'application/vnd.docker.plugins.v1.1+json' }
  const call = { method: 'POST', headers, body: JSON.stringify(body) }
  const first = await overUnix(socket, '/VolumeDriver.Mount', call)
  expect(JSON.parse(first.text).Err).toMatch(/^TIMED_OUT: Mount of volume "db" is still under way after 20 ms/)
  const again = post('VolumeDriver.Mount', body)
  // Another request proves that the server has had its turn to see that one.
  await overUnix(socket, '/Plugin.Activate', { method: 'POST' })
  open()
  const answer = await again
  expect(answer).toMatchObject({ status: 200, body: { Mountpoint: service.held.get('db')?.volume.mountpoint } })
  expect(answer.body.Mountpoint).not.toBe('')
  expect(service.log).toEqual(['create db', 'mount db x'])
})

test('a mount whose caller has gone is undone', async () => {
  const { service, socket } = await start()
  await service.create('db', {})
  const open = service.block()
  const call = request({ socketPath: socket, path: '/VolumeDriver.Mount', method: 'POST' })
  call.on('error', () => {})
  call.end(JSON.stringify({ Name: 'db', ID: 'x' }))
  await expect.poll(() => service.log).toContain('mount db x')
  await new Promise((resolve) => call.once('close', resolve).destroy())
  // A second request proves that the server has had its turn to see the first one go.
  await overUnix(socket, '/Plugin.Activate', { method: 'POST' })
  open()
  await expect.poll(() => service.log).toContain('unmount db x')
})

test('unknown calls and large bodies are answered', async () => {
  const { post, service } = await start()
  expect(await post('VolumeDriver.Fly', {})).toMatchObject({ status: 404 })
  const large = await post(
    'VolumeDriver.Create',
    JSON.stringify({ Name: 'db', Opts: { size: 'x'.repeat(10_000_000) } }),
  )
  expect(large.body.Err).toMatch(/^BODY_TOO_LARGE/)
  expect(service.log).toEqual([])
})
