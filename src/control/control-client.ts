import type { PeerClient } from '../cluster/cluster.ts'
import { DroverError, hasCode } from '../domain/errors.ts'
import type { HostId } from '../domain/ids.ts'
import type { MoveRequest } from '../domain/move.ts'
import type { ControlPort, MoveStatus } from '../volumes/control-port.ts'
import type { Control } from './control.ts'

/** What a pull by Mount asks for: only an idle volume, nothing carried. */
const pullRequest = (to: string): MoveRequest => ({
  to,
  quiesce: 'stop',
  containers: 'refuse',
  dropMounts: [],
  healthTimeoutMs: 60_000,
  onlyIdle: true,
})

/** The control role in this very process. */
export const localControlPort = (control: Control, hostName: () => string): ControlPort => ({
  createVolume: async (request) => {
    await control.createVolume({ labels: {}, ...request, host: hostName() })
  },
  removeVolume: (name) => control.removeVolume(name, { force: false }),
  moveHere: async (name) => statusOf(await control.startMove(name, pullRequest(hostName()))),
  move: async (id) => statusOf(await control.move(id)),
  openMove: async (name) => {
    const [open] = await control.moves({ volume: name, open: true })
    return open === undefined ? null : statusOf(open)
  },
})

interface MoveJson {
  readonly id: string
  readonly state: MoveStatus['state']
  readonly phase: string
  readonly to: string
  readonly error: { readonly message: string } | null
}

const statusOf = ({ id, state, phase, to, error }: MoveJson): MoveStatus => ({
  id,
  state,
  phase,
  to,
  error: error?.message ?? null,
})

/** The control role on another host, by its REST API. @throws CONTROL_UNREACHABLE */
export const remoteControlPort = (
  client: PeerClient,
  where: () => { address: string; hostId: HostId; hostName: string },
): ControlPort => {
  const ask = async (method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<unknown> => {
    const { address, hostId } = where()
    try {
      const options = { method, timeoutMs: 90_000, ...(body === undefined ? {} : { body }) }
      return (await client.request({ address, hostId }, path, options)).body
    } catch (error) {
      if (!hasCode(error, 'HOST_UNREACHABLE')) throw error
      throw new DroverError(
        'CONTROL_UNREACHABLE',
        `the control role at ${address} does not answer; volumes owned on this host go on, try again when it is back`,
        { cause: error },
      )
    }
  }
  return {
    createVolume: async (request) => {
      await ask('POST', '/v1/volumes', { ...request, host: where().hostName })
    },
    removeVolume: async (name) => {
      await ask('DELETE', `/v1/volumes/${encodeURIComponent(name)}`)
    },
    moveHere: async (name) => {
      const { onlyIdle, to, containers, quiesce } = pullRequest(where().hostName)
      const body = { to, containers, quiesce, onlyIdle }
      return statusOf((await ask('POST', `/v1/volumes/${encodeURIComponent(name)}/moves`, body)) as MoveJson)
    },
    move: async (id) => statusOf((await ask('GET', `/v1/moves/${id}`)) as MoveJson),
    openMove: async (name) => {
      const page = (await ask('GET', `/v1/moves?volume=${encodeURIComponent(name)}&open=true`)) as { items: MoveJson[] }
      const [open] = page.items
      return open === undefined ? null : statusOf(open)
    },
  }
}
