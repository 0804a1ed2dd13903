import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { getSnapshotBlock, listChangedBlocks, listSnapshotBlocks } from './direct-reads.ts'
import { type DirectAnswer, DirectError, type DirectRequest } from './direct-wire.ts'
import { completeSnapshot, putSnapshotBlock, startSnapshot } from './direct-writes.ts'
import type { World } from './model.ts'
import type { Entry } from './server.ts'
import type { Throttle } from './throttle.ts'

type Act = (world: World, request: DirectRequest) => Promise<DirectAnswer>

/** Methods and paths, what they are called, and what does them. */
const routes: readonly (readonly [string, RegExp, string, Act])[] = [
  ['GET', /^\/snapshots\/([^/]+)\/blocks$/, 'ListSnapshotBlocks', listSnapshotBlocks],
  ['GET', /^\/snapshots\/([^/]+)\/changedblocks$/, 'ListChangedBlocks', listChangedBlocks],
  ['GET', /^\/snapshots\/([^/]+)\/blocks\/(\d+)$/, 'GetSnapshotBlock', getSnapshotBlock],
  ['POST', /^\/snapshots$/, 'StartSnapshot', startSnapshot],
  ['PUT', /^\/snapshots\/([^/]+)\/blocks\/(\d+)$/, 'PutSnapshotBlock', putSnapshotBlock],
  ['POST', /^\/snapshots\/completion\/([^/]+)$/, 'CompleteSnapshot', completeSnapshot],
]

/**
 * The EBS direct API, which is a service of its own on the same port: blocks of 512 KiB with their checksums, lists in pages, tokens that expire,
 * AWS's codes and reasons.
 */
export class DirectApi {
  readonly #world: World
  readonly #journal: Entry[]
  readonly #throttle: Throttle | null

  constructor(world: World, journal: Entry[], throttle: Throttle | null) {
    this.#world = world
    this.#journal = journal
    this.#throttle = throttle
  }

  /** False: the request is none of its own. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://ebs')
    if (!pathname.startsWith('/snapshots')) return false
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const route = routes.find(([method, path]) => method === request.method && path.test(pathname))
    const [, id = '', index] = route?.[1].exec(pathname) ?? []
    const action = route?.[2] ?? `${request.method} ${pathname}`
    const named = { snapshotId: decodeURIComponent(id), ...(index === undefined ? {} : { blockIndex: index }) }
    const entry: Entry = { action, parameters: { ...Object.fromEntries(searchParams), ...named }, outcome: 'under way' }
    this.#journal.push(entry)
    const asked: DirectRequest = {
      ...{ snapshotId: named.snapshotId, blockIndex: index === undefined ? null : Number(index) },
      ...{ query: searchParams, headers: request.headers, body: Buffer.concat(chunks) },
    }
    try {
      const fault = this.#world.faults.take(action)
      if (fault === 'lost request') return cut(request, entry, fault)
      if (typeof fault === 'object' && fault !== null && 'slowMs' in fault) await sleep(fault.slowMs)
      if (fault === 'throttled') throw throttled()
      if (fault === 'denied')
        throw new DirectError('AccessDeniedException', 'UNAUTHORIZED_ACCOUNT', 'Not allowed.', 403)
      if (fault === 'failing') throw new DirectError('InternalServerException', null, 'An internal error.', 500)
      this.#checkSigned(request)
      if (this.#throttle?.isSpent() === true) throw throttled()
      if (route === undefined) throw new DirectError('UnknownOperationException', null, 'There is no such action.', 404)
      // What is damaged on its way here is so before it is looked at.
      const body = fault === 'damaged' ? otherwise(asked.body) : asked.body
      const answer = await route[3](this.#world, { ...asked, body })
      if (fault === 'lost reply') return cut(request, entry, fault)
      if (typeof fault === 'object' && fault !== null && 'lateMs' in fault) await sleep(fault.lateMs)
      entry.outcome = fault === 'damaged' ? fault : 'done'
      send(response, fault === 'damaged' ? damaged(answer) : answer)
    } catch (error) {
      const told =
        error instanceof DirectError ? error : new DirectError('InternalServerException', null, String(error), 500)
      entry.outcome = told.code
      const body = { Message: told.message, ...(told.reason === null ? {} : { Reason: told.reason }) }
      send(response, { status: told.status, headers: { 'x-amzn-errortype': told.code }, body })
    }
    return true
  }

  #checkSigned({ headers }: IncomingMessage): void {
    const signed = headers.authorization ?? ''
    const scope = `/${this.#world.region}/ebs/aws4_request`
    if (signed.startsWith('AWS4-HMAC-SHA256 Credential=') && signed.includes(scope)) return
    throw new DirectError('AccessDeniedException', 'UNAUTHORIZED_ACCOUNT', 'The request is not signed for ebs.', 403)
  }
}

const throttled = (): DirectError =>
  new DirectError('RequestThrottledException', 'ACCOUNT_THROTTLED', 'Request throttled.')

const cut = (request: IncomingMessage, entry: Entry, why: string): true => {
  entry.outcome = why
  request.socket.destroy()
  return true
}

const damaged = (answer: DirectAnswer): DirectAnswer =>
  Buffer.isBuffer(answer.body) ? { ...answer, body: otherwise(answer.body) } : answer

/** One bit is another. */
const otherwise = (bytes: Buffer): Buffer => {
  const body = Buffer.from(bytes)
  if (body.length > 4097) body.writeUInt8(body.readUInt8(4097) ^ 1, 4097)
  return body
}

const send = (response: ServerResponse, { status, headers, body }: DirectAnswer): void => {
  const isBytes = Buffer.isBuffer(body)
  const type = isBytes ? 'application/octet-stream' : 'application/json'
  response.writeHead(status, { 'content-type': type, ...headers }).end(isBytes ? body : JSON.stringify(body))
}
