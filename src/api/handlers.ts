import type { IncomingMessage, ServerResponse } from 'node:http'
import type { JoinAnswer, JoinRequest } from '../cluster/cluster.ts'
import type { Control } from '../control/control.ts'
import type { HostId } from '../domain/ids.ts'
import type { EndpointName, endpoints } from './endpoints.ts'
import type { z } from './zod.ts'

/** Who asks: root on this host, a host of the cluster, or somebody without a certificate. */
export type Caller = { kind: 'socket' } | { kind: 'host'; hostId: HostId } | { kind: 'nobody' }

export interface VersionInfo {
  readonly version: string
  readonly hostName: string
  readonly hostId: string
  readonly clusterId: string
  /** This host has the control role. */
  readonly control: boolean
}

export interface TokenLine {
  readonly token: string
  /** `vol join ADDR:PORT --token TOKEN` */
  readonly command: string
  readonly expiresAt: string
}

/** What this vold answers by itself, whoever has the control role. */
export interface LocalEndpoints {
  version(): VersionInfo
  /** What keeps it from doing its work, a line each; empty when it is well. */
  problems(): Promise<string[]>
  /** Idempotent on a control host. @throws CLUSTER_EXISTS when this host has joined another's cluster */
  init(): Promise<TokenLine>
  /** @throws TOKEN_INVALID, ADOPT_NEEDED, CLUSTER_EXISTS, VOLUME_EXISTS (clashes listed), HOST_UNREACHABLE */
  join(request: { address: string; token: string; adopt: boolean }): Promise<{
    hostName: string
    hostId: string
    clusterId: string
    controlAddress: string
  }>
  /** The control host's part of a join. @throws NOT_CONTROL, TOKEN_INVALID, HOST_EXISTS */
  admit(request: JoinRequest): Promise<JoinAnswer>
}

type Endpoints = typeof endpoints
type Part<E, K extends string> = E extends { readonly [P in K]: infer S extends z.ZodType } ? z.output<S> : undefined

export interface Input<E> {
  readonly params: Part<E, 'params'>
  readonly query: Part<E, 'query'>
  readonly body: Part<E, 'body'>
  /** From If-Match. */
  readonly ifVersion: number | undefined
  readonly caller: Caller
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

type ReplyOf<Answers> = {
  [S in keyof Answers]: Answers[S] extends z.ZodType
    ? { readonly status: S; readonly body: z.input<Answers[S]>; readonly location?: string }
    : { readonly status: S }
}[keyof Answers]

/** `sent`: the handler has written the answer itself. */
export type Reply<E extends { answers: object }> = ReplyOf<E['answers']> | 'sent'

type Names<Where extends string> = {
  [K in EndpointName]: Endpoints[K]['where'] extends Where ? K : never
}[EndpointName]

/** An endpoint without a handler, or an answer that is not what the document says, does not compile. */
export type ControlHandlers = {
  [K in Names<'control'>]: (input: Input<Endpoints[K]>, control: Control) => Promise<Reply<Endpoints[K]>>
}
export type HereHandlers = {
  [K in Names<'here'>]: (input: Input<Endpoints[K]>) => Promise<Reply<Endpoints[K]>>
}
