import type { VolumeId } from '../../domain/ids.ts'
import { internalPrefix, type Names } from './names.ts'
import { guidOf, wholeNumber } from './parse.ts'
import type { ZfsCommand } from './zfs-command.ts'

export interface FoundSnapshot {
  readonly name: string
  /** The file system that it is of. */
  readonly dataset: string
  readonly guid: string
  /** Transaction in which it was made, or received. */
  readonly createdTxg: number
  /** RFC 3339. */
  readonly createdAt: string
  /** File systems that were made from it. */
  readonly clones: readonly string[]
  readonly referencedBytes: number
}

/** What there is of a volume, as it is now, by one command. */
export interface Inventory {
  /** File systems that snapshots of the volume may be of; `live` is one of them when it exists. */
  readonly datasets: readonly string[]
  /** Oldest first; without those of Drover's own use. */
  readonly snapshots: readonly FoundSnapshot[]
  readonly bookmarks: readonly { readonly name: string; readonly dataset: string; readonly guid: string }[]
  /** Receives under way, by name, and the snapshot that is there of one whose stream is whole. */
  readonly partials: ReadonlyMap<string, FoundSnapshot | null>
  readonly isEncrypted: boolean
}

const columns = ['name', 'guid', 'createtxg', 'creation', 'clones', 'refer', 'encryption'] as const
const what = 'zfs list'

/** Null: the pool holds nothing of the volume. */
export const inventoryOf = async (command: ZfsCommand, names: Names, id: VolumeId): Promise<Inventory | null> => {
  const rows = await command.list(names.volume(id), columns, { types: 'filesystem,snapshot,bookmark' })
  return rows === null ? null : readInventory(rows, names, id)
}

export const readInventory = (rows: readonly (readonly string[])[], names: Names, id: VolumeId): Inventory => {
  const datasets: string[] = []
  const snapshots: FoundSnapshot[] = []
  const bookmarks: { name: string; dataset: string; guid: string }[] = []
  const partials = new Map<string, FoundSnapshot | null>()
  let isEncrypted = false
  for (const row of rows) {
    const [path = '', guid] = row
    const [, dataset = '', mark, name = ''] = /^([^@#]*)([@#])?(.*)$/.exec(path) ?? []
    const partial = names.partialOf(id, dataset)
    if (partial !== null) {
      // The first is what arrived; what somebody makes later, of all that there is, comes after it.
      const isOf = mark === '@' && dataset === names.receiving(id, partial)
      partials.set(partial, partials.get(partial) ?? (isOf ? asFound(row, dataset, name) : null))
    } else if (mark === undefined && dataset === names.volume(id)) isEncrypted = !['off', '-'].includes(row[6] ?? '-')
    else if (!names.holdsSnapshots(id, dataset)) continue
    else if (mark === undefined) datasets.push(dataset)
    else if (mark === '#') bookmarks.push({ name, dataset, guid: guidOf(what, guid) })
    else if (!name.startsWith(internalPrefix)) snapshots.push(asFound(row, dataset, name))
  }
  snapshots.sort((a, b) => a.createdTxg - b.createdTxg)
  return { datasets, snapshots, bookmarks, partials, isEncrypted }
}

const asFound = (row: readonly string[], dataset: string, name: string): FoundSnapshot => {
  const [, guid, createtxg, creation, clones = '-', refer] = row
  return {
    ...{ name, dataset, guid: guidOf(what, guid), createdTxg: wholeNumber(what, createtxg) },
    createdAt: new Date(wholeNumber(what, creation) * 1000).toISOString(),
    clones: clones === '-' || clones === '' ? [] : clones.split(','),
    referencedBytes: wholeNumber(what, refer),
  }
}
