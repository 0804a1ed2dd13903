import { get, type IncomingMessage } from 'node:http'
import { createParser, type EventSourceMessage } from 'eventsource-parser'
import { expect, onTestFinished, test } from 'vitest'
import { startApi } from '../../support/api-server.ts'
import { overUnix } from '../../support/unix-http.ts'

const listen = async (socketPath: string, headers: Record<string, string> = {}, path = '/v1/events') => {
  const events: EventSourceMessage[] = []
  const parser = createParser({ onEvent: (event) => events.push(event) })
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    get({ socketPath, path, headers }, resolve).on('error', reject)
  })
  response.on('data', (chunk: Buffer) => parser.feed(chunk.toString('utf8')))
  response.on('error', () => {})
  onTestFinished(() => void response.destroy())
  return { response, events, ids: () => events.map(({ id }) => Number(id)) }
}

test('events come as they happen, from now on', async () => {
  const { control, socket } = await startApi()
  control.emit('old', {})
  const { response, events, ids } = await listen(socket)
  expect(response.headers['content-type']).toBe('text/event-stream')
  for (let count = 0; count < 250; count += 1) control.emit('news', { count })
  await expect.poll(() => events.length).toBe(250)
  expect(ids()).toEqual(Array.from({ length: 250 }, (_, index) => index + 2))
  expect(events[0]).toMatchObject({ id: '2', event: 'news' })
  expect(JSON.parse(events[0]?.data ?? '')).toMatchObject({ sequence: 2, type: 'news', data: { count: 0 } })
})

test('a client goes on where it was; one that knows another store begins anew', async () => {
  const { control, socket } = await startApi()
  for (let count = 0; count < 5; count += 1) control.emit('news', { count })
  const resumed = await listen(socket, { 'Last-Event-ID': '3' })
  await expect.poll(resumed.ids).toEqual([4, 5])
  const query = await listen(socket, {}, '/v1/events?after=4')
  await expect.poll(query.ids).toEqual([5])
  const stranger = await listen(socket, { 'Last-Event-ID': '99' })
  await expect.poll(stranger.ids).toEqual([1, 2, 3, 4, 5])
})

test('with Accept: application/json the events that are kept, in pages', async () => {
  const { control, socket } = await startApi()
  for (let count = 0; count < 3; count += 1) control.emit('news', { count })
  const headers = { Accept: 'application/json' }
  const first = JSON.parse((await overUnix(socket, '/v1/events?limit=2', { headers })).text)
  expect(first).toMatchObject({ items: [{ sequence: 1 }, { sequence: 2 }], nextCursor: '2' })
  const rest = JSON.parse((await overUnix(socket, `/v1/events?after=${first.nextCursor}`, { headers })).text)
  expect(rest).toMatchObject({ items: [{ sequence: 3 }], nextCursor: null })
})

test('a client that leaves is forgotten, and a stop ends the streams', async () => {
  const { control, socket, stop } = await startApi()
  const leaving = await listen(socket)
  await expect.poll(() => control.listeners.size).toBe(1)
  leaving.response.destroy()
  await expect.poll(() => control.listeners.size).toBe(0)
  const staying = await listen(socket)
  const ended = new Promise((resolve) => staying.response.once('close', resolve))
  await stop()
  await ended
})

test('a Last-Event-ID that is none is refused', async () => {
  const { socket } = await startApi()
  expect((await overUnix(socket, '/v1/events', { headers: { 'Last-Event-ID': 'x' } })).status).toBe(400)
})
