import { Router } from 'express'
import { DroverError } from '../domain/errors.ts'
import type { HostId } from '../domain/ids.ts'
import { readBody } from '../lib/http-body.ts'
import type { Logger } from '../lib/logger.ts'
import { type Agent, isAgentMethod } from '../migrate/agent.ts'
import { sendJson } from './problem.ts'

export interface AgentRouteParts {
  readonly agent: Agent
  readonly logger: Logger
  /** The host that may command: the one with the control role. */
  controlHostId(): HostId
  /** An open move brings containers of this volume here. */
  expectsImage(volumeId: string, moveId: string): Promise<boolean>
  /** A tar as `docker save` writes it. */
  loadImage(tar: NodeJS.ReadableStream, imageId: string, imageName: string): Promise<void>
}

/** A move's specifications of many containers, and a table of thousands of volumes. */
const bodyLimitBytes = 64 * 2 ** 20

/** So many moves are known to have been told of; then the next command of one tells again. */
const maxTold = 1_000

/** Says once of each move that it is under way on this host: at its first command since `vold` started. */
const tellOnce = (logger: Logger): ((args: unknown, method: string) => void) => {
  const told = new Set<string>()
  return (args, method) => {
    const { moveId, volumeName } = (args ?? {}) as { moveId?: unknown; volumeName?: unknown }
    // What has changed is asked before there is a move, too.
    if (typeof moveId !== 'string' || told.has(moveId) || method === 'changedBytes') return
    if (told.size >= maxTold) told.clear()
    told.add(moveId)
    logger.info({ move: moveId, volume: volumeName, method }, 'a move is under way on this host')
  }
}

/** What any host of the cluster may ask (a source that lost the control role: a refusal); the rest is for the control role. */
const forAll: readonly string[] = ['ping', 'ownedSince', 'refuseTarget']

/** The agent's calls over HTTP: POST /agent/METHOD with the arguments as JSON, `{"result": ...}` back. */
export const createAgentRoutes = (parts: AgentRouteParts): Router => {
  const router = Router()
  const tell = tellOnce(parts.logger)
  router.post('/image', async (request, response) => {
    const imageId = headerOf(request.headers['drover-image-id'])
    const imageName = headerOf(request.headers['drover-image-name'])
    const move = headerOf(request.headers['drover-move-id'])
    if (!(await parts.expectsImage(headerOf(request.headers['drover-volume-id']), move))) {
      throw new DroverError('FORBIDDEN', `no open move ${move} brings an image to this host`)
    }
    await parts.loadImage(request, imageId, imageName)
    sendJson(response, 200, {})
  })
  router.post('/:method', async (request, response) => {
    const { method } = request.params
    if (!isAgentMethod(method))
      throw new DroverError('NO_SUCH_ROUTE', `agents have no call ${method}; see that all hosts run one version`)
    if (!forAll.includes(method) && response.locals.peer !== parts.controlHostId()) {
      throw new DroverError('FORBIDDEN', `only the host with the control role may ask ${method} of this host`)
    }
    const args = JSON.parse((await readBody(request, bodyLimitBytes)).toString('utf8'))
    tell(args, method)
    const call = parts.agent[method] as (args: unknown) => Promise<unknown>
    const result = await call(args)
    sendJson(response, 200, { result: result ?? null })
  })
  return router
}

const headerOf = (value: string | string[] | undefined): string => {
  if (typeof value === 'string' && value !== '') return decodeURIComponent(value)
  throw new DroverError('BAD_REQUEST', 'an image needs its id and name in the headers')
}
