import type { ServerResponse } from 'node:http'
import { asDroverError, type DroverError } from '../domain/errors.ts'
import type { Problem } from './views.ts'

/** RFC 9457. `code` is what programs read, `detail` is the line for people. */
export const problemOf = (error: DroverError): Problem => ({
  type: `urn:drover:error:${error.code}`,
  title: error.kind.title,
  status: error.kind.status,
  detail: error.message,
  code: error.code,
  retryable: error.kind.retryable,
  ...(Object.keys(error.details).length === 0 ? {} : { details: error.details }),
})

/** Answers anything thrown as a problem; when an answer has begun already, only its end can tell. */
export const sendProblem = (response: ServerResponse, thrown: unknown): DroverError => {
  const error = asDroverError(thrown)
  if (response.headersSent) response.destroy()
  else sendJson(response, error.kind.status, problemOf(error), { 'Content-Type': 'application/problem+json' })
  return error
}

export const sendJson = (
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void => {
  const text = body === undefined ? '' : `${JSON.stringify(body)}\n`
  response.writeHead(status, {
    ...(text === '' ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
    'Cache-Control': 'no-store',
    ...headers,
  })
  response.end(text)
}
