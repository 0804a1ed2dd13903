import { join } from 'node:path'
import type { HostId, VolumeId } from '../domain/ids.ts'
import { diskFiles, type Files } from '../lib/files.ts'

/** A volume as the control role's table of names tells it. */
export interface CatalogEntry {
  readonly id: VolumeId
  readonly name: string
  readonly ownerHostId: HostId
  readonly ownerHost: string
  readonly epoch: number
  readonly sizeBytes: number | null
  readonly labels: Readonly<Record<string, string>>
  readonly options: Readonly<Record<string, string>>
  readonly createdAt: string
  /** Who owns it is not known: the owner named is the last one heard of, and nobody gives way to him. */
  readonly unknown?: true
}

export interface CatalogTable {
  /** The store's commit sequence when the table was read: an older table never replaces a newer one. */
  readonly sequence: number
  readonly term: number
  readonly entries: readonly CatalogEntry[]
}

/** The table of names, pushed by the control role and kept on disk, so that Get and List answer without it. */
export class Catalog {
  readonly #path: string
  readonly #files: Files
  #table: CatalogTable
  #byName: Map<string, CatalogEntry>
  #known: boolean

  private constructor(path: string, files: Files, table: CatalogTable, known: boolean) {
    this.#path = path
    this.#files = files
    this.#table = table
    this.#known = known
    this.#byName = index(table)
  }

  static async open(dataDir: string, files: Files = diskFiles): Promise<Catalog> {
    const path = join(dataDir, 'catalog.json')
    const text = await files.readIfExists(path)
    return text === null
      ? new Catalog(path, files, { sequence: 0, term: 0, entries: [] }, false)
      : new Catalog(path, files, JSON.parse(text), true)
  }

  /** A table was received at some time: what is not in it was not there then. */
  get known(): boolean {
    return this.#known
  }

  byName(name: string): CatalogEntry | undefined {
    return this.#byName.get(name)
  }

  /** As it was received last; of sequence 0 before the first. */
  get table(): CatalogTable {
    return this.#table
  }

  entries(): readonly CatalogEntry[] {
    return this.#table.entries
  }

  async replace(table: CatalogTable): Promise<void> {
    const older =
      table.term < this.#table.term || (table.term === this.#table.term && table.sequence < this.#table.sequence)
    if (older) return
    const same = this.#known && table.sequence === this.#table.sequence && table.term === this.#table.term
    if (same && JSON.stringify(table) === JSON.stringify(this.#table)) return
    this.#table = table
    this.#byName = index(table)
    this.#known = true
    await this.#files.writeJsonDurably(this.#path, table)
  }

  /** After a join: another store's numbers begin. */
  async reset(): Promise<void> {
    this.#table = { sequence: 0, term: 0, entries: [] }
    this.#byName = new Map()
    this.#known = false
    await this.#files.writeJsonDurably(this.#path, this.#table)
  }
}

const index = (table: CatalogTable) => new Map(table.entries.map((entry) => [entry.name, entry]))
