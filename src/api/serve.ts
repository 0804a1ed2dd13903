import type { IncomingMessage } from 'node:http'
import type { Request, Response } from 'express'
import type { Control } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { check, readJson, versionDemanded } from './checks.ts'
import type { Endpoint } from './endpoints.ts'
import type { Caller, Input } from './handlers.ts'
import { digestOf, type Idempotency } from './idempotency.ts'
import { sendJson } from './problem.ts'
import type { ControlProxy } from './proxy.ts'
import { z } from './zod.ts'

const noQuery = z.strictObject({})

interface AnyReply {
  readonly status: number
  readonly body?: unknown
  readonly location?: string
}

export type AnyHandler = (input: Input<unknown>, control: Control | null) => Promise<AnyReply | 'sent'>

export interface ServeParts {
  control(): Control | null
  readonly proxyToControl: ControlProxy
  readonly idempotency: Idempotency
  callerOf(request: IncomingMessage): Caller
}

/** What every endpoint has in common: admission, proxy, checks, Idempotency-Key, ETag. */
export const createServe = ({ control, proxyToControl, idempotency, callerOf }: ServeParts) => {
  return async (endpoint: Endpoint, handler: AnyHandler, request: Request, response: Response): Promise<void> => {
    const caller = callerOf(request)
    if (endpoint.who === 'socket' && caller.kind !== 'socket') {
      throw new DroverError('FORBIDDEN', `${endpoint.path} is for the unix socket of the host itself; run vol there`)
    }
    const json = endpoint.body === undefined ? undefined : await readJson(request)
    const role = endpoint.where === 'control' ? control() : null
    if (endpoint.where === 'control' && role === null) return proxyToControl(request, response, json)

    const input = {
      params: endpoint.params && check(endpoint.params, { ...request.params }, 'address'),
      query: check(endpoint.query ?? noQuery, { ...request.query }, 'query'),
      body: endpoint.body && check(endpoint.body, json, 'request'),
      ifVersion: endpoint.ifMatch === true ? versionDemanded(request.headers['if-match']) : undefined,
      caller,
      request,
      response,
    } as unknown as Input<unknown>

    const key = endpoint.keyed === true ? request.get('idempotency-key') : undefined
    if (key === undefined) {
      const reply = await handler(input, role)
      if (reply !== 'sent') send(response, endpoint, reply)
      return
    }
    const kept = await idempotency.once(key, digestOf(request.method, request.path, json), async () => {
      const reply = await handler(input, role)
      if (reply === 'sent') throw new DroverError('INTERNAL', `${endpoint.path} cannot have an Idempotency-Key`)
      return { status: reply.status, location: reply.location ?? null, body: JSON.stringify(reply.body) }
    })
    if (kept.replayed) response.setHeader('Idempotency-Replayed', 'true')
    const location = kept.location === null ? {} : { location: kept.location }
    send(response, endpoint, { status: kept.status, body: JSON.parse(kept.body), ...location })
  }
}

const send = (response: Response, endpoint: Endpoint, reply: AnyReply): void => {
  const version = endpoint.versioned === true ? versionOf(reply.body) : null
  sendJson(response, reply.status, reply.body, {
    ...(reply.location === undefined ? {} : { Location: reply.location }),
    ...(version === null ? {} : { ETag: `"${version}"` }),
  })
}

const versionOf = (body: unknown): number | null =>
  typeof body === 'object' && body !== null && 'version' in body && typeof body.version === 'number'
    ? body.version
    : null
