import type { DatasetRecord, Epoch } from '../domain/dataset.ts'
import type { Host } from '../domain/host.ts'
import type { ClusterId, HostId, MoveId, VolumeId } from '../domain/ids.ts'
import type { MoveRecord } from '../domain/move.ts'
import type { Volume } from '../domain/volume.ts'
import type { JournalNote, Recall } from '../migrate/agent.ts'
import type { Tombstone } from '../state/store.ts'
import type { CatalogEntry, CatalogTable } from '../volumes/catalog.ts'

/** A copy of a volume, as the record on its pool says. */
export interface Copy {
  readonly host: Host
  readonly record: DatasetRecord
}

/** Somebody is known to have owned the volume at an epoch; null: not who. */
export interface Evidence {
  readonly epoch: Epoch
  readonly hostId: HostId | null
}

export interface FactsGiven {
  readonly clusterId: ClusterId | null
  /** Who is in the cluster, as whoever knows best has it. */
  readonly hosts: readonly Host[]
  /** What each said; a host that is not in it did not answer. */
  readonly answers: ReadonlyMap<HostId, Recall>
  /** The store as it was found. */
  readonly rows: readonly Volume[]
  readonly moves: readonly MoveRecord[]
  readonly stones: readonly Tombstone[]
}

/** All that is known of the cluster's volumes without believing the store. */
export class Facts {
  readonly given: FactsGiven
  /** The newest table of names that any host holds. */
  readonly table: CatalogTable
  readonly #copies = new Map<VolumeId, Copy[]>()
  readonly #rows: Map<VolumeId, Volume>
  readonly #moves: Map<MoveId, MoveRecord>

  constructor(given: FactsGiven) {
    this.given = given
    this.#rows = new Map(given.rows.map((row) => [row.id, row]))
    this.#moves = new Map(given.moves.map((move) => [move.id, move]))
    const tables = [...given.answers.values()].map(({ table }) => table)
    this.table = tables.reduce(newer, { term: 0, sequence: 0, entries: [] })
    for (const host of given.hosts) {
      for (const record of given.answers.get(host.id)?.records ?? []) {
        // A record that is bound to another host or cluster is void there.
        if (record.hostId !== host.id || (given.clusterId !== null && record.clusterId !== given.clusterId)) continue
        this.#copies.set(record.volumeId, [...this.copies(record.volumeId), { host, record }])
      }
    }
  }

  /** Every volume that anybody knows of, but for those whose deletion is recorded. */
  volumeIds(): VolumeId[] {
    const buried = new Set(this.given.stones.map(({ volumeId }) => volumeId))
    const all = [...this.#copies.keys(), ...this.#rows.keys(), ...this.table.entries.map(({ id }) => id)]
    return [...new Set(all)].filter((id) => !buried.has(id)).toSorted()
  }

  copies(id: VolumeId): readonly Copy[] {
    return this.#copies.get(id) ?? []
  }

  row(id: VolumeId): Volume | null {
    return this.#rows.get(id) ?? null
  }

  entry(id: VolumeId): CatalogEntry | null {
    return this.table.entries.find((entry) => entry.id === id) ?? null
  }

  move(id: MoveId): MoveRecord | null {
    return this.#moves.get(id) ?? null
  }

  movesOf(id: VolumeId): MoveRecord[] {
    return this.given.moves.filter(({ volumeId }) => volumeId === id)
  }

  answered(id: HostId): boolean {
    return this.given.answers.has(id)
  }

  host(id: HostId): Host | null {
    return this.given.hosts.find((host) => host.id === id) ?? null
  }

  hostName(id: HostId): string {
    return this.host(id)?.name ?? id
  }

  silent(): Host[] {
    return this.given.hosts.filter(({ id }) => !this.answered(id))
  }

  journal(move: MoveId, side: JournalNote['side']): { hostId: HostId; note: JournalNote } | null {
    for (const [hostId, { journals }] of this.given.answers) {
      const note = journals.find((other) => other.side === side && other.command.moveId === move)
      if (note !== undefined) return { hostId, note }
    }
    return null
  }

  hasEndedOn(hostId: HostId, volumeId: VolumeId, move: MoveId): boolean {
    const heard = this.given.answers.get(hostId)?.heard.find((other) => other.volumeId === volumeId)
    return heard?.ended.includes(move) ?? false
  }

  heardOn(hostId: HostId, volumeId: VolumeId): Epoch {
    return this.given.answers.get(hostId)?.heard.find((other) => other.volumeId === volumeId)?.seen ?? 0
  }

  /** The highest number that was ever given out for the volume, as far as anybody remembers. */
  highest(id: VolumeId): Epoch {
    const heard = [...this.given.answers.keys()].map((hostId) => this.heardOn(hostId, id))
    const records = this.copies(id).flatMap(({ record }) => [record.epoch, record.seen])
    const moves = this.movesOf(id).map(({ returnEpoch }) => returnEpoch)
    const row = this.row(id)
    return Math.max(0, ...heard, ...records, ...moves, row?.reservedEpoch ?? 0, row?.epoch ?? 0)
  }

  evidence(id: VolumeId): Evidence[] {
    const owned = ['owner', 'sealed', 'released']
    const told = [...this.given.answers.values()].flatMap(({ table }) =>
      table.entries.filter((entry) => entry.id === id),
    )
    const row = this.row(id)
    return [
      ...this.copies(id).map(({ host, record }) => ({
        epoch: record.epoch,
        hostId: owned.includes(record.role) ? host.id : null,
      })),
      ...told.map(({ epoch, ownerHostId }) => ({ epoch, hostId: ownerHostId })),
      ...(row === null ? [] : [{ epoch: row.epoch, hostId: row.ownerHostId }]),
    ]
  }
}

const newer = (one: CatalogTable, other: CatalogTable): CatalogTable => {
  const isNewer = other.term > one.term || (other.term === one.term && other.sequence > one.sequence)
  return isNewer ? other : one
}
