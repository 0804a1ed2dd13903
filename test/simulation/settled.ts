import type { DatasetRecord } from '../../src/domain/dataset.ts'
import type { Volume } from '../../src/domain/volume.ts'
import type { Container } from './engine.ts'
import { canWrite } from './ledger.ts'
import type { MemoryPool } from './memory-pool.ts'
import type { SimHost } from './sim-host.ts'

export interface Expectation {
  /** Names of containers that people made, and on which hosts they may be besides the owner. */
  readonly container: string | null
  readonly mustRun: boolean
  /** The restart policy that it was made with. */
  readonly policy: string
  readonly mayStay: (host: SimHost, container: Container) => boolean
}

/** What is not as it must be once everything is healed; null: all is. */
export const unsettled = (
  hosts: readonly SimHost[],
  volume: Volume,
  openMoves: number,
  expected: Expectation,
): string | null => {
  for (const host of hosts) if (host.vold === null) return `vold of ${host.name} is not up`
  if (openMoves > 0) return `${openMoves} moves are open`
  if (volume.openMoveId !== null) return 'the volume is in a move'
  const owner = hosts.find(({ row }) => row.id === volume.ownerHostId)
  if (owner === undefined) return 'the owner is no host'
  const pool = owner.pool(volume.pool)
  if (pool === undefined) return `the owner has no pool ${volume.pool}`
  if (!canWrite(pool, volume.id))
    return `${owner.name}, the owner in the store, cannot write: ${stateOf(pool, volume.id)}`
  for (const host of hosts) {
    for (const each of host.pools) {
      const problem =
        (each === pool ? ofOwner(host, pool, volume) : ofReplica(host, each, volume)) ?? leftovers(host, each, volume)
      if (problem !== null) return problem
    }
    const problem = host === owner ? null : ofOther(host, volume, expected)
    if (problem !== null) return problem
  }
  return expected.mustRun ? ofWriter(owner, expected) : null
}

const stateOf = (pool: MemoryPool, volumeId: string): string => {
  const directory = pool.volumes.get(volumeId)
  return directory === undefined
    ? 'it holds nothing'
    : `it is ${recordOf(pool, volumeId)?.role} of ${recordOf(pool, volumeId)?.datasetUuid}, the live dataset is ${directory.live?.uuid}`
}

const recordOf = (pool: MemoryPool, volumeId: string): DatasetRecord | null =>
  (pool.volumes.get(volumeId)?.record ?? null) as DatasetRecord | null

const ofOwner = (host: SimHost, pool: MemoryPool, volume: Volume): string | null => {
  const record = recordOf(pool, volume.id)
  if (record?.moveId !== null) return `${host.name} owns it still within a move`
  // Less is possible: a source that unsealed itself while the abort was stored for the case that it had released.
  if (record.epoch > volume.epoch)
    return `${host.name} owns it at epoch ${record.epoch}, the store says ${volume.epoch}`
  return null
}

const ofReplica = (host: SimHost, pool: MemoryPool, volume: Volume): string | null => {
  const directory = pool.volumes.get(volume.id)
  const record = recordOf(pool, volume.id)
  if (record !== null && (record.role !== 'replica' || record.moveId !== null)) {
    return `${host.name} is ${record.role}${record.moveId === null ? '' : ' within a move'}`
  }
  if (directory !== undefined && record === null) return `${host.name} has a directory without a record`
  return directory?.live ? `${host.name} has a live dataset, and is not the owner` : null
}

const ofOther = (host: SimHost, volume: Volume, expected: Expectation): string | null => {
  if (host.kernel.mounts.some(({ volumeId }) => volumeId === volume.id)) return `${host.name} has it mounted`
  const stray = [...host.engine.containers.values()].find((container) => !expected.mayStay(host, container))
  return stray === undefined ? null : `container ${stray.name} (${stray.state}) is left on ${host.name}`
}

const leftovers = (host: SimHost, pool: MemoryPool, volume: Volume): string | null => {
  const directory = pool.volumes.get(volume.id)
  const journals = [...host.disk.files.keys()].filter((path) => path.includes('/moves/'))
  if (journals.length > 0) return `${host.name} has journals: ${journals.join(', ')}`
  const temporary = [...host.engine.containers.values()].find(({ name }) => name.includes('.drover-'))
  if (temporary !== undefined) return `container ${temporary.name} is left on ${host.name}`
  if (directory === undefined) return null
  if (directory.partials.size > 0) return `${host.name} has partials`
  if (directory.making !== null) return `${host.name} has a half made dataset`
  const known = new Set(recordOf(pool, volume.id)?.snapshots.map(({ name }) => name))
  for (const name of directory.snapshots.keys()) {
    if (!known.has(name)) return `${host.name} has snapshot ${name}, which its record does not know`
  }
  for (const name of known) {
    if (!directory.snapshots.has(name)) return `${host.name} lacks snapshot ${name}, which its record names`
  }
  // The base, and the one before it where a move back was undone.
  if (known.size > 1) return `${host.name} has ${known.size} snapshots: ${[...known].join(', ')}`
  return null
}

const ofWriter = (owner: SimHost, { container: name, policy }: Expectation): string | null => {
  const container = name === null ? null : owner.engine.find(name)
  if (container === null) return `the writer is not on ${owner.name}`
  if (container.state !== 'running') return `the writer on ${owner.name} is ${container.state}`
  if (container.policy.name !== policy) return `the writer's restart policy is ${container.policy.name}, not ${policy}`
  return null
}
