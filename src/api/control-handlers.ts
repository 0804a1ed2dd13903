import type { Control } from '../control/control.ts'
import { DroverError } from '../domain/errors.ts'
import { checkVolumeName } from '../domain/names.ts'
import type { Clock } from '../lib/clock.ts'
import { streamEvents } from './event-stream.ts'
import type { Caller, ControlHandlers, LocalEndpoints } from './handlers.ts'
import { pageOf } from './pages.ts'

export interface ControlHandlerParts {
  readonly local: LocalEndpoints
  readonly clock: Clock
  /** Aborted when vold stops: event streams end. */
  readonly stop: AbortSignal
}

export const createControlHandlers = ({ local, clock, stop }: ControlHandlerParts): ControlHandlers => ({
  listVolumes: async ({ query }, control) => ({
    status: 200,
    body: pageOf(await control.volumes(), (volume) => volume.name, query),
  }),

  createVolume: async ({ body, caller }, control) => {
    checkVolumeName(body.name)
    const host = body.host ?? (await hostOf(caller, control, local))
    const volume = await control.createVolume({ ...body, host })
    return { status: 201, body: volume, location: `/v1/volumes/${volume.name}` }
  },

  inspectVolume: async ({ params }, control) => ({
    status: 200,
    body: await control.volume(checkVolumeName(params.name)),
  }),

  resizeVolume: async ({ params, body, ifVersion }, control) => ({
    status: 200,
    body: await control.resizeVolume(checkVolumeName(params.name), body.sizeBytes, { ifVersion }),
  }),

  removeVolume: async ({ params, query, ifVersion }, control) => {
    await control.removeVolume(checkVolumeName(params.name), { force: query.force, ifVersion })
    return { status: 204 }
  },

  startMove: async ({ params, body }, control) => {
    const name = checkVolumeName(params.name)
    const { dryRun, ...request } = body
    if (dryRun) return { status: 200, body: await control.planMove(name, request) }
    const move = await control.startMove(name, request)
    return { status: 202, body: move, location: `/v1/moves/${move.id}` }
  },

  startGroup: async ({ body }, control) => {
    const { dryRun, group, ...rest } = body
    const request = { ...rest, onlyIdle: false }
    if (dryRun) return { status: 200, body: { moves: await control.planGroup(group, request) } }
    const moves = await control.startGroup(group, request)
    const groupId = moves[0]?.groupId ?? ''
    return { status: 202, body: { groupId, moves }, location: `/v1/moves?group=${groupId}` }
  },

  startVerification: async ({ params, body }, control) => {
    const name = checkVolumeName(params.name)
    if (body.discard) return { status: 200, body: { hosts: await control.discardDiffering(name) } }
    const location = `/v1/volumes/${name}/verification`
    return { status: 202, body: await control.startVerification(name), location }
  },

  inspectVerification: async ({ params }, control) => ({
    status: 200,
    body: await control.verification(checkVolumeName(params.name)),
  }),

  listMoves: async ({ query }, control) => ({
    status: 200,
    body: pageOf(
      await control.moves({ volume: query.volume, group: query.group, open: query.open }),
      // Ids are ULIDs: their order is the order of time.
      (move) => move.id,
      query,
      true,
    ),
  }),

  inspectMove: async ({ params }, control) => ({ status: 200, body: await control.move(params.id) }),
  cancelMove: async ({ params, query }, control) => ({ status: 202, body: await control.cancelMove(params.id, query) }),

  listHosts: async ({ query }, control) => ({
    status: 200,
    body: pageOf(await control.hosts(), (host) => host.name, query),
  }),

  removeHost: async ({ params }, control) => {
    await control.removeHost(params.name)
    return { status: 204 }
  },

  listPools: async ({ query }, control) => ({
    status: 200,
    body: pageOf(await control.pools(), (pool) => `${pool.host}\n${pool.spec}`, query),
  }),

  issueToken: async ({ body }, control) => ({ status: 201, body: await control.issueToken(body.ttlMs) }),

  findings: async (_, control) => ({ status: 200, body: await control.doctor({ fix: false }) }),
  fixFindings: async (_, control) => ({ status: 200, body: await control.doctor({ fix: true }) }),
  recover: async ({ body }, control) => ({ status: 200, body: await control.recover(body) }),

  events: async ({ query, request, response }, control) => {
    const resumed = lastEventId(request.headers['last-event-id']) ?? query.after
    if (wantsJson(request.headers.accept)) {
      const items = await control.events(resumed ?? 0, query.limit)
      const last = items.at(-1)
      const nextCursor = items.length < query.limit || last === undefined ? null : String(last.sequence)
      return { status: 200, body: { items, nextCursor } }
    }
    const newest = await control.lastEventSequence()
    // A sequence that the store has not reached is another store's: everything is news to that client.
    const after = resumed === undefined ? newest : resumed > newest ? 0 : resumed
    await streamEvents(response, control, after, clock, stop)
    return 'sent'
  },
})

const wantsJson = (accept: string | undefined): boolean =>
  accept?.includes('application/json') === true && !accept.includes('text/event-stream')

const lastEventId = (header: string | string[] | undefined): number | undefined => {
  if (header === undefined) return undefined
  if (typeof header === 'string' && /^\d{1,15}$/.test(header)) return Number(header)
  throw new DroverError('BAD_REQUEST', 'Last-Event-ID is not the id of an event; send it as it came, or leave it out')
}

const hostOf = async (caller: Caller, control: Control, local: LocalEndpoints): Promise<string> => {
  if (caller.kind === 'socket') return local.version().hostName
  const host = (await control.hosts()).find(({ id }) => caller.kind === 'host' && id === caller.hostId)
  if (host !== undefined) return host.name
  throw new DroverError('NO_SUCH_HOST', 'the request comes from no host of the cluster; name the host of the volume')
}
