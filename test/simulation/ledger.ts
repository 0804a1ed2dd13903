import type { DatasetRecord } from '../../src/domain/dataset.ts'
import type { EventLoop } from './event-loop.ts'
import type { Dataset, MemoryPool } from './memory-pool.ts'
import { volumeName } from './names.ts'
import type { SimHost } from './sim-host.ts'
import { rowPath, type WriteLedger, type WriterPlace } from './writer.ts'

export class Violation extends Error {}

/** What must hold at every instant: one host that can write, and every acknowledged row where the owner is. */
export class Ledger implements WriteLedger {
  readonly acknowledgedRows: number[] = []
  readonly #hosts: readonly SimHost[]
  readonly #loop: EventLoop
  readonly #note: (text: string) => void
  #row = 0

  constructor(hosts: readonly SimHost[], loop: EventLoop, note: (text: string) => void) {
    this.#hosts = hosts
    this.#loop = loop
    this.#note = note
  }

  started(place: WriterPlace): void {
    this.#note(`${place.container} writes on ${place.host}`)
    for (const other of this.#hosts) {
      if (other.name === place.host) continue
      const mount = other.kernel.mounts.find(
        ({ namespace, volumeId }) => namespace !== 'own' && volumeId === place.volumeId,
      )
      if (mount !== undefined) {
        this.#broken(`two writers: ${place.container} on ${place.host}, and ${mount.namespace} on ${other.name}`)
      }
    }
    const own = this.#hosts.find(({ name }) => name === place.host)
    const beside = own?.kernel.mounts.find(
      ({ volumeId, dataset }) => volumeId === place.volumeId && isLive(own, dataset) && dataset !== place.dataset,
    )
    if (beside !== undefined) this.#broken(`${place.container} writes on ${place.host}, where another copy is mounted`)
    this.#mustHoldAll(place.dataset, `${place.container} was started`)
  }

  next(): number {
    this.#row += 1
    return this.#row
  }

  written(place: WriterPlace, row: number): void {
    const host = this.#hosts.find(({ name }) => name === place.host)
    const directory = host?.kernel.poolOf(place.dataset).volumes.get(place.volumeId)
    const role = directory?.record !== null && directory !== undefined ? roleOf(directory.record) : 'none'
    if (directory?.live !== place.dataset)
      this.#broken(`row ${row} was written on ${place.host} beside the live dataset`)
    if (role !== 'owner' && role !== 'sealed') this.#broken(`row ${row} was written on ${place.host}, which is ${role}`)
  }

  acknowledged(_place: WriterPlace, row: number): void {
    this.acknowledgedRows.push(row)
  }

  /** A record was written on some host. */
  recorded(host: SimHost, pool: MemoryPool, record: DatasetRecord): void {
    const where = host.pools.length > 1 ? ` in ${pool.name}` : ''
    this.#note(
      `${host.name} is ${record.role} ${record.epoch}${where}${record.moveId === null ? '' : ` in ${record.moveId}`}`,
    )
    this.checkOwners(record.volumeId)
    if (record.role !== 'owner' || record.name !== volumeName) return
    const live = pool.volumes.get(record.volumeId)?.live ?? null
    if (live !== null && live.uuid === record.datasetUuid) this.#mustHoldAll(live, `${host.name} became owner`)
  }

  checkOwners(volumeId: string): void {
    const owners = this.#hosts.flatMap(({ name, pools }) =>
      pools.filter((pool) => canWrite(pool, volumeId)).map(() => name),
    )
    if (owners.length > 1) this.#broken(`two owners: ${owners.join(' and ')}`)
  }

  missingIn(dataset: Dataset): number[] {
    return this.acknowledgedRows.filter((row) => !dataset.files.has(rowPath(row)))
  }

  #mustHoldAll(dataset: Dataset, when: string): void {
    const missing = this.missingIn(dataset)
    if (missing.length > 0) this.#broken(`acknowledged rows ${missing.slice(0, 5).join(', ')} are missing when ${when}`)
  }

  #broken(what: string): void {
    this.#note(`VIOLATION ${what}`)
    this.#loop.fail(new Violation(what))
  }
}

const isLive = (host: SimHost, dataset: Dataset | null): boolean =>
  dataset !== null && host.pools.some(({ volumes }) => [...volumes.values()].some(({ live }) => live === dataset))

const roleOf = (record: object): string => ('role' in record ? String(record.role) : 'foreign')

/** Its record would let a container write there. */
export const canWrite = (pool: MemoryPool, volumeId: string): boolean => {
  const directory = pool.volumes.get(volumeId)
  if (directory === undefined || directory.record === null || directory.live === null) return false
  const record = directory.record as DatasetRecord
  return record.role === 'owner' && record.datasetUuid === directory.live.uuid
}
