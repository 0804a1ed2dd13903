import * as requests from './requests.ts'
import * as views from './views.ts'
import type { z } from './zod.ts'

/** One address of the API. The table below is the only list of them: routes, checks, types and document come from it. */
export interface Endpoint {
  readonly method: 'get' | 'post' | 'patch' | 'delete'
  /** With OpenAPI's braces: /v1/volumes/{name}. */
  readonly path: string
  readonly summary: string
  /** `control`: passed on to the control role when it is not here. */
  readonly where: 'control' | 'here'
  /** `cluster`: the unix socket, or a certificate of the cluster; `socket`: only the unix socket. */
  readonly who: 'cluster' | 'socket' | 'anyone'
  readonly params?: z.ZodObject
  readonly query?: z.ZodObject
  readonly body?: z.ZodType
  /** Answers to an Idempotency-Key are kept. */
  readonly keyed?: true
  /** The answer has a `version`, which becomes its ETag. */
  readonly versioned?: true
  readonly ifMatch?: true
  /** Status -> schema of the JSON answer; null: no body. */
  readonly answers: Readonly<Record<number, z.ZodType | null>>
  /** Other media types that a 200 can have. */
  readonly media?: readonly string[]
}

const volumePath = '/v1/volumes/{name}'
const common = { where: 'control', who: 'cluster' } as const
const here = { where: 'here', who: 'cluster' } as const
const socket = { where: 'here', who: 'socket' } as const

export const endpoints = {
  listVolumes: {
    ...common,
    method: 'get',
    path: '/v1/volumes',
    summary: 'Volumes of the cluster by name, in pages',
    query: requests.pageQuery,
    answers: { 200: views.pageOf(views.volumeView) },
  },
  createVolume: {
    ...common,
    method: 'post',
    path: '/v1/volumes',
    summary: 'Make a volume',
    body: requests.createVolumeBody,
    keyed: true,
    versioned: true,
    answers: { 201: views.volumeView },
  },
  inspectVolume: {
    ...common,
    method: 'get',
    path: volumePath,
    summary: 'A volume, with every snapshot, replica and partial that exists of it',
    params: requests.volumeParams,
    versioned: true,
    answers: { 200: views.volumeDetail },
  },
  resizeVolume: {
    ...common,
    method: 'patch',
    path: volumePath,
    summary: 'Change the size of a volume',
    params: requests.volumeParams,
    body: requests.resizeVolumeBody,
    ifMatch: true,
    versioned: true,
    answers: { 200: views.volumeView },
  },
  removeVolume: {
    ...common,
    method: 'delete',
    path: volumePath,
    summary: 'Remove a volume and its data',
    params: requests.volumeParams,
    query: requests.removeQuery,
    ifMatch: true,
    answers: { 204: null },
  },
  startMove: {
    ...common,
    method: 'post',
    path: '/v1/volumes/{name}/moves',
    summary: 'Move a volume to another host, or with dryRun tell what that would take',
    params: requests.volumeParams,
    body: requests.startMoveBody,
    keyed: true,
    versioned: true,
    answers: { 202: views.moveView, 200: views.movePlan },
  },
  startGroup: {
    ...common,
    method: 'post',
    path: '/v1/moves',
    summary: 'Move all volumes with a label as one, or with dryRun tell what that would take',
    body: requests.startGroupBody,
    keyed: true,
    answers: { 202: views.groupView, 200: views.groupPlan },
  },
  startVerification: {
    ...common,
    method: 'post',
    path: '/v1/volumes/{name}/verification',
    summary: 'Compare the content of the owner with each replica, or join the comparison under way',
    params: requests.volumeParams,
    body: requests.verifyBody,
    answers: { 202: views.verificationView, 200: views.discardedView },
  },
  inspectVerification: {
    ...common,
    method: 'get',
    path: '/v1/volumes/{name}/verification',
    summary: 'The comparison under way, or the last one since the control role started',
    params: requests.volumeParams,
    answers: { 200: views.verificationView },
  },
  listMoves: {
    ...common,
    method: 'get',
    path: '/v1/moves',
    summary: 'Moves, newest first, in pages',
    query: requests.movesQuery,
    answers: { 200: views.pageOf(views.moveView) },
  },
  inspectMove: {
    ...common,
    method: 'get',
    path: '/v1/moves/{id}',
    summary: 'A move and how far it is',
    params: requests.moveParams,
    versioned: true,
    answers: { 200: views.moveView },
  },
  cancelMove: {
    ...common,
    method: 'delete',
    path: '/v1/moves/{id}',
    summary: 'Cancel a move that has not committed, or whose target is lost for good',
    params: requests.moveParams,
    query: requests.cancelQuery,
    versioned: true,
    answers: { 202: views.moveView },
  },
  listHosts: {
    ...common,
    method: 'get',
    path: '/v1/hosts',
    summary: 'Hosts of the cluster, in pages',
    query: requests.pageQuery,
    answers: { 200: views.pageOf(views.hostView) },
  },
  removeHost: {
    ...common,
    method: 'delete',
    path: '/v1/hosts/{name}',
    summary: 'Take a host that holds no volume out of the cluster',
    params: requests.hostParams,
    answers: { 204: null },
  },
  listPools: {
    ...common,
    method: 'get',
    path: '/v1/pools',
    summary: 'Pools of all hosts, in pages',
    query: requests.pageQuery,
    answers: { 200: views.pageOf(views.poolView) },
  },
  issueToken: {
    ...common,
    method: 'post',
    path: '/v1/tokens',
    summary: 'Make a token that lets one host join',
    body: requests.issueTokenBody,
    answers: { 201: views.tokenView },
  },
  findings: {
    ...common,
    method: 'get',
    path: '/v1/findings',
    summary: 'What is left over on any host, or not as it should be',
    answers: { 200: views.doctorReport },
  },
  fixFindings: {
    ...common,
    method: 'post',
    path: '/v1/findings/fix',
    summary: "Do what is provably Drover's to do about it",
    body: requests.fixBody,
    answers: { 200: views.doctorReport },
  },
  recover: {
    ...common,
    method: 'post',
    path: '/v1/recover',
    summary: 'Rebuild a lost or old state store from what the hosts hold',
    body: requests.recoverBody,
    answers: { 200: views.recoverReport },
  },
  events: {
    ...common,
    method: 'get',
    path: '/v1/events',
    summary: 'Events as they happen (SSE, resumed by Last-Event-ID); with Accept: application/json those that are kept',
    query: requests.eventsQuery,
    answers: { 200: views.pageOf(views.eventView) },
    media: ['text/event-stream'],
  },
  version: {
    ...here,
    method: 'get',
    path: '/v1/version',
    summary: 'Version and identity of the vold that answers',
    answers: { 200: views.versionView },
  },
  openApi: {
    ...here,
    method: 'get',
    path: '/v1/openapi.json',
    summary: 'This document',
    answers: { 200: null },
    media: ['application/json'],
  },
  initCluster: {
    ...socket,
    method: 'post',
    path: '/v1/cluster/init',
    summary: 'Answer the line that the second host runs; unix socket only',
    body: requests.emptyBody,
    answers: { 200: views.tokenView },
  },
  joinCluster: {
    ...socket,
    method: 'post',
    path: '/v1/cluster/join',
    summary: 'Join this host to a cluster; unix socket only',
    body: requests.joinClusterBody,
    answers: { 200: views.joinedView },
  },
  join: {
    where: 'here',
    who: 'anyone',
    method: 'post',
    path: '/v1/join',
    summary: 'Exchange a token for a certificate: what vol join asks of the control host',
    body: requests.joinBody,
    answers: { 200: views.joinAnswer },
  },
  metrics: {
    ...here,
    method: 'get',
    path: '/metrics',
    summary: 'Figures for Prometheus',
    answers: { 200: null },
    media: ['text/plain'],
  },
  health: {
    where: 'here',
    who: 'anyone',
    method: 'get',
    path: '/healthz',
    summary: 'Whether this vold can do its work; what is wrong is told on the unix socket only',
    answers: { 200: views.healthView, 503: views.healthView },
  },
} as const satisfies Record<string, Endpoint>

export type EndpointName = keyof typeof endpoints
