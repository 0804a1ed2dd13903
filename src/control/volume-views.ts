import { hasCode } from '../domain/errors.ts'
import type { Host } from '../domain/host.ts'
import type { MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import type { Holding } from '../migrate/agent.ts'
import { askAll } from './ask-all.ts'
import type { MoveView, VolumeDetail, VolumeView } from './control.ts'
import type { ControlParts } from './parts.ts'

const usagePatienceMs = 1_000

export const volumeView = async (
  { hostName }: ControlParts,
  volume: Volume,
  usedBytes: number | null,
): Promise<VolumeView> => ({ ...volume, owner: await hostName(volume.ownerHostId), usedBytes })

/** Figures are worth a second of waiting, no more; hosts that own none of these volumes are not asked. */
export const usageOf = async (parts: ControlParts, volumes: readonly Volume[]): Promise<Map<string, number>> => {
  const answers = await askAll(parts, async (host, { id }) => {
    const volumeIds = volumes.filter(({ ownerHostId }) => ownerHostId === id).map((volume) => volume.id)
    if (volumeIds.length === 0) return {}
    const enough = new AbortController()
    const late = parts.clock.sleep(usagePatienceMs, enough.signal).then(() => ({}))
    late.catch(() => undefined)
    return Promise.race([host.usage({ volumeIds }), late]).finally(() => enough.abort())
  })
  return new Map([...answers.values()].flatMap((usage) => Object.entries(usage ?? {})))
}

/** With everything that exists of the volume, on every host that answers. */
export const volumeDetail = async (
  parts: ControlParts,
  volume: Volume,
  moveView: (move: MoveRecord) => Promise<MoveView>,
): Promise<VolumeDetail> => {
  const { store, agent } = parts
  const holdings = await askAll(parts, async (host) => ({ holding: await host.holding({ volumeId: volume.id }) }))
  const found = [...holdings].flatMap(([host, answer]) => (answer?.holding ? [{ host, holding: answer.holding }] : []))
  const owner = found.find(({ host }) => host.id === volume.ownerHostId)
  const copies = found.flatMap(({ host, holding }) =>
    [holding, ...(holding.beside ?? [])].map((copy) => ({ host, copy })),
  )
  const users =
    owner === undefined ? [] : await agent(owner.host).users({ volumeName: volume.name }).catch(ignoreEngine)
  const move = volume.openMoveId === null ? null : await store.move(volume.openMoveId)
  return {
    ...(await volumeView(parts, volume, owner?.holding.usedBytes ?? null)),
    mounted: owner?.holding.mounted ?? false,
    containers: users.map(({ name, state }) => ({ name, state })),
    snapshots: copies.flatMap(({ host, copy }) =>
      copy.snapshots.map(({ name, createdAt }) => ({ host: host.name, name, createdAt })),
    ),
    replicas: copies
      .filter(({ host, copy }) => host.id !== volume.ownerHostId || copy !== owner?.holding)
      .map(({ host, copy }) => replicaView(host, copy)),
    holders: found.flatMap(({ host, holding }) => holding.holders.map((holder) => ({ host: host.name, ...holder }))),
    partials: copies.flatMap(({ host, copy }) => copy.partials.map((name) => ({ host: host.name, name }))),
    unreachable: [...holdings].flatMap(([host, answer]) => (answer === null ? [host.name] : [])),
    move: move === null ? null : await moveView(move),
  }
}

const replicaView = (host: Host, { record }: Pick<Holding, 'record'>) => ({
  host: host.name,
  pool: record.pool,
  role: record.role,
  base: record.snapshot,
  keepUntil: record.keepUntil,
})

/** An engine that does not answer leaves the list of containers empty; that the volume is mounted is told beside it. */
const ignoreEngine = (error: unknown): [] => {
  if (hasCode(error, 'DOCKER_UNREACHABLE', 'HOST_UNREACHABLE', 'TIMED_OUT')) return []
  throw error
}
