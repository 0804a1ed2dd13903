import { expect, test } from 'vitest'
import { endpoints } from '../../../src/api/endpoints.ts'
import { startApi } from '../../support/api-server.ts'
import { overUnix } from '../../support/unix-http.ts'

interface Document {
  openapi: string
  paths: Record<string, Record<string, { responses: Record<string, unknown> }>>
  components: { schemas: Record<string, unknown> }
}

test('the document is 3.1 and tells every endpoint, and every reference in it leads somewhere', async () => {
  const api = await startApi()
  const text = (await overUnix(api.socket, '/v1/openapi.json')).text
  const document = JSON.parse(text) as Document
  expect(document.openapi).toBe('3.1.0')
  for (const { method, path, answers } of Object.values(endpoints)) {
    const told = Object.keys(document.paths[path]?.[method]?.responses ?? {})
    expect([path, told.toSorted()]).toEqual([path, [...Object.keys(answers), 'default'].toSorted()])
  }
  for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
    expect(Object.keys(document.components.schemas)).toContain(name)
  }
})
