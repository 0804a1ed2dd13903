import { OpenAPIRegistry, OpenApiGeneratorV31, type ResponseConfig } from '@asteasolutions/zod-to-openapi'
import { type Endpoint, endpoints } from './endpoints.ts'
import { problemView } from './views.ts'
import { z } from './zod.ts'

/** The OpenAPI 3.1 document, from the table of endpoints alone. */
export const openApiDocument = (version: string): object => {
  const registry = new OpenAPIRegistry()
  for (const [name, endpoint] of Object.entries<Endpoint>(endpoints)) {
    const { method, path, summary, params, query, body } = endpoint
    const headers = headersOf(endpoint)
    registry.registerPath({
      operationId: name,
      method,
      path,
      summary,
      request: {
        ...(params === undefined ? {} : { params }),
        ...(query === undefined ? {} : { query }),
        ...(headers === null ? {} : { headers }),
        ...(body === undefined ? {} : { body: { content: { 'application/json': { schema: body } } } }),
      },
      responses: responsesOf(endpoint),
    })
  }
  return new OpenApiGeneratorV31(registry.definitions).generateDocument({
    openapi: '3.1.0',
    info: {
      title: 'Drover',
      version,
      description: 'Moves a volume, and the container that lives on it, to another host.',
    },
  })
}

const headersOf = (endpoint: Endpoint) => {
  const shape = {
    ...(endpoint.keyed === true ? { 'Idempotency-Key': z.string().optional() } : {}),
    ...(endpoint.ifMatch === true ? { 'If-Match': z.string().optional() } : {}),
  }
  return Object.keys(shape).length === 0 ? null : z.object(shape)
}

const responsesOf = (endpoint: Endpoint): Record<string, ResponseConfig> => {
  const responses: Record<string, ResponseConfig> = {
    default: { description: 'Refused', content: { 'application/problem+json': { schema: problemView } } },
  }
  for (const [status, schema] of Object.entries(endpoint.answers)) {
    const content = {
      ...(schema === null ? {} : { 'application/json': { schema } }),
      ...(status === '200'
        ? Object.fromEntries((endpoint.media ?? []).map((media) => [media, { schema: z.any() }]))
        : {}),
    }
    responses[status] = {
      description: meanings[status] ?? 'Done',
      ...(Object.keys(content).length === 0 ? {} : { content }),
    }
  }
  return responses
}

const meanings: Readonly<Record<string, string>> = { 201: 'Made', 202: 'Under way', 204: 'Gone', 503: 'Failing' }
