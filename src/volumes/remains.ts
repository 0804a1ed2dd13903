import { basename } from 'node:path'
import type { ContainerRuntime } from '../containers/runtime.ts'
import { isWaitingName } from '../containers/waiting-name.ts'
import type { DatasetRecord } from '../domain/dataset.ts'
import { asDroverError, DroverError } from '../domain/errors.ts'
import { isId, type VolumeId, volumeId } from '../domain/ids.ts'
import type { PoolInfo } from '../domain/pool.ts'
import type { Held, VolumeHost } from './host.ts'
import { unmountOurs } from './usage.ts'

/** One thing that a move or a crash may have left here. Whether it is left over, the control role decides. */
export type Remain =
  /** On the pool, not in the record. */
  | { readonly kind: 'snapshot' | 'partial'; readonly volumeId: VolumeId; readonly name: string }
  /** Of a copy that has none by its record. */
  | { readonly kind: 'live'; readonly volumeId: VolumeId }
  /** Below the stable mount paths, of a volume that is not owned here. */
  | { readonly kind: 'mount'; readonly volumeId: VolumeId | null; readonly path: string }
  | { readonly kind: 'container'; readonly id: string; readonly name: string; readonly moveId: string }
  | { readonly kind: 'loop'; readonly device: string }
  /** A removal that did not end, and that nobody works on. */
  | { readonly kind: 'trash'; readonly pool: string; readonly name: string }
  /** How far a content proof was that is not under way here. */
  | { readonly kind: 'verification'; readonly id: string }
  /** The engine does not find us. */
  | { readonly kind: 'plugin'; readonly problem: string }

export interface Examination {
  readonly records: readonly DatasetRecord[]
  readonly remains: readonly Remain[]
  readonly pools: readonly PoolInfo[]
  /** Records that cannot be read, or of a newer format. */
  readonly foreign: readonly string[]
  /** Null, or why the engine does not answer. */
  readonly engine: string | null
  readonly certificates: readonly { readonly of: 'host' | 'CA'; readonly endsAt: string }[]
  /** This host's clock, Unix milliseconds. */
  readonly now: number
}

/** What is not this room's to know. */
export interface Surroundings {
  readonly mountPoints: () => Promise<readonly string[]>
  /** Loop devices of Drover's own files that back nothing. */
  readonly idleLoops: () => Promise<readonly string[]>
  readonly detachLoop: (device: string) => Promise<void>
  readonly certificates: () => Examination['certificates']
  readonly verifications: () => Promise<readonly string[]>
  readonly dropVerification: (id: string) => Promise<void>
  /** What is wrong with the place where the engine looks for us; null: nothing. */
  readonly pluginProblem: () => Promise<string | null>
  /** @throws ADDRESS_TAKEN when somebody else is there */
  readonly servePluginAgain: () => Promise<void>
}

const holdsLive = ['owner', 'sealed', 'released', 'prepared', 'receiving', 'diverged', 'refused']

export const examine = async (
  host: VolumeHost,
  runtime: ContainerRuntime,
  around: Surroundings,
): Promise<Examination> => {
  const all = await host.allHeld()
  const remains: Remain[] = []
  for (const held of all) remains.push(...(await remainsOf(held)))
  for (const path of await around.mountPoints()) {
    const id = path.startsWith(`${host.dataDir}/mnt/`) ? basename(path) : null
    if (id === null) continue
    if (all.some(({ record }) => record.volumeId === id && holdsLive.includes(record.role))) continue
    remains.push({ kind: 'mount', volumeId: isId(id) ? volumeId(id) : null, path })
  }
  let engine: string | null = null
  try {
    for (const { id, name, moveId } of await runtime.madeByMoves())
      remains.push({ kind: 'container', id, name, moveId })
  } catch (error) {
    engine = asDroverError(error).message
  }
  for (const device of await around.idleLoops()) remains.push({ kind: 'loop', device })
  for (const { spec, removals } of host.backends) {
    const stuck = (await removals?.stuck()) ?? []
    remains.push(...stuck.map((name) => ({ kind: 'trash' as const, pool: spec.text, name })))
  }
  for (const id of await around.verifications()) remains.push({ kind: 'verification', id })
  const problem = await around.pluginProblem()
  if (problem !== null) remains.push({ kind: 'plugin', problem })
  const foreign: string[] = []
  for (const backend of host.backends) foreign.push(...(await backend.list()).foreign)
  return {
    records: all.map(({ record }) => record),
    remains,
    pools: await Promise.all(host.backends.map((backend) => backend.info())),
    foreign,
    engine,
    certificates: around.certificates(),
    now: host.clock.now(),
  }
}

const remainsOf = async ({ backend, record }: Held): Promise<Remain[]> => {
  const { volumeId: id } = record
  const [snapshots, partials] = await Promise.all([
    backend.snapshots?.list(id) ?? [],
    backend.streams?.partials(id) ?? [],
  ])
  const stray = snapshots.filter(({ name }) => !record.snapshots.some((recorded) => recorded.name === name))
  const found: Remain[] = [
    ...stray.map(({ name }) => ({ kind: 'snapshot' as const, volumeId: id, name })),
    ...partials.map((name) => ({ kind: 'partial' as const, volumeId: id, name })),
  ]
  if (record.role === 'replica' && record.moveId === null && (await backend.live(id, { sync: false })) !== null) {
    found.push({ kind: 'live', volumeId: id })
  }
  return found
}

/**
 * Removes one of them, after another look under the volume's lock: what is in a move by now, or is somebody's data, stays.
 * @throws STALE_EPOCH when it is not left over any more, VOLUME_BUSY
 */
export const tidy = async (
  host: VolumeHost,
  runtime: ContainerRuntime,
  around: Surroundings,
  remain: Remain,
): Promise<void> => {
  if (remain.kind === 'loop')
    return (await around.idleLoops()).includes(remain.device) ? around.detachLoop(remain.device) : undefined
  if (remain.kind === 'container') {
    const isThere = (await runtime.madeByMoves()).some(({ id, moveId }) => id === remain.id && moveId === remain.moveId)
    if (isThere && isWaitingName(remain.name, remain.moveId)) await runtime.remove(remain.id)
    return
  }
  if (remain.kind === 'trash') return removeAgain(host, remain)
  if (remain.kind === 'plugin') return around.servePluginAgain()
  if (remain.kind === 'verification') {
    const isLeft = (await around.verifications()).includes(remain.id)
    return isLeft ? around.dropVerification(remain.id) : undefined
  }
  const id = remain.volumeId
  if (id === null) throw inUse(remain.kind === 'mount' ? remain.path : remain.kind)
  await host.locks.run(id, async () => {
    const [held, ...others] = await host.copies(id)
    if (held === undefined) throw inUse(`the rest of volume ${id}`)
    const { record } = held
    if (remain.kind === 'mount') {
      if (record.role !== 'replica' || record.moveId !== null) throw inUse(remain.path)
      return unmountOurs(host, held)
    }
    for (const copy of [held, ...others]) {
      const still = (await remainsOf(copy)).some((other) => JSON.stringify(other) === JSON.stringify(remain))
      if (!still) continue
      if (copy.record.moveId !== null) throw inUse(`volume ${record.name}`)
      const { backend } = copy
      if (remain.kind === 'snapshot') await backend.snapshots?.destroy(id, remain.name)
      if (remain.kind === 'partial') await backend.streams?.abortReceive(id, remain.name)
      if (remain.kind === 'live') await backend.destroyLive(id)
    }
  })
}

const removeAgain = async (host: VolumeHost, { pool, name }: { pool: string; name: string }): Promise<void> => {
  const removals = host.backends.find(({ spec }) => spec.text === pool)?.removals
  await removals?.retry()
  if ((await removals?.stuck())?.includes(name) !== true) return
  throw new DroverError(
    'COMMAND_FAILED',
    `the removal of ${name} in pool ${pool} did not end this time either; the warnings of vold on host ${host.identity.hostName} say why`,
  )
}

const inUse = (what: string): DroverError =>
  new DroverError('STALE_EPOCH', `${what} is not provably left over; it was left alone`)
