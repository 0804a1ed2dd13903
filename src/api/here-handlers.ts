import type { Registry } from 'prom-client'
import type { HereHandlers, LocalEndpoints } from './handlers.ts'
import { openApiDocument } from './openapi.ts'
import { sendJson } from './problem.ts'

export const createHereHandlers = (local: LocalEndpoints, metrics: Registry): HereHandlers => {
  let document: object | null = null
  return {
    version: async () => ({ status: 200, body: local.version() }),

    openApi: async ({ response }) => {
      document ??= openApiDocument(local.version().version)
      sendJson(response, 200, document)
      return 'sent'
    },

    initCluster: async () => ({ status: 200, body: await local.init() }),
    joinCluster: async ({ body }) => ({ status: 200, body: await local.join(body) }),
    join: async ({ body }) => ({ status: 200, body: await local.admit(body) }),

    metrics: async ({ response }) => {
      const text = await metrics.metrics()
      response.writeHead(200, { 'Content-Type': metrics.contentType })
      response.end(text)
      return 'sent'
    },

    health: async ({ caller }) => {
      const problems = await local.problems()
      const told = caller.kind === 'nobody' ? {} : { problems }
      return problems.length === 0
        ? { status: 200, body: { status: 'ok', ...told } }
        : { status: 503, body: { status: 'failing', ...told } }
    },
  }
}
