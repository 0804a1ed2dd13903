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
}

const columns = ['name', 'guid', 'createtxg', 'creation', 'clones', 'refer'] as const
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
  for (const [path = '', guid, createtxg, creation, clones = '-', refer] of rows) {
    const [, dataset = '', mark, name = ''] = /^([^@#]*)([@#])?(.*)$/.exec(path) ?? []
    if (!names.holdsSnapshots(id, dataset)) continue
    if (mark === undefined) datasets.push(dataset)
    else if (mark === '#') bookmarks.push({ name, dataset, guid: guidOf(what, guid) })
    else if (!name.startsWith(internalPrefix)) {
      snapshots.push({
        ...{ name, dataset, guid: guidOf(what, guid), createdTxg: wholeNumber(what, createtxg) },
        createdAt: new Date(wholeNumber(what, creation) * 1000).toISOString(),
        clones: clones === '-' || clones === '' ? [] : clones.split(','),
        referencedBytes: wholeNumber(what, refer),
      })
    }
  }
  return { datasets, bookmarks, snapshots: snapshots.sort((a, b) => a.createdTxg - b.createdTxg) }
}
