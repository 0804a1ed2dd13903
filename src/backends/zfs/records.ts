import { createHash } from 'node:crypto'
import type { DatasetRecord } from '../../domain/dataset.ts'
import { DroverError } from '../../domain/errors.ts'
import { isId, type VolumeId, volumeId } from '../../domain/ids.ts'
import { isRecord } from '../records.ts'
import type { Names } from './names.ts'
import { home } from './pool-check.ts'
import type { ZfsCommand } from './zfs-command.ts'

const head = 'drover:record'
/** A value holds 8 KiB, its final zero counted. */
const partBytes = 8000

/**
 * The record in user properties of the volume's dataset: JSON in parts, since a value has a greatest length, all set in one transaction.
 * `drover:record` tells how many parts count, and their digest; parts of longer records before it stay behind unread. Only what is set
 * on the dataset itself counts: properties are inherited, and travel with streams. What cannot be understood is foreign.
 */
export class Records {
  readonly #names: Names
  readonly #command: ZfsCommand

  constructor(names: Names, command: ZfsCommand) {
    this.#names = names
    this.#command = command
  }

  async list(): Promise<{ records: DatasetRecord[]; foreign: string[] }> {
    const { pool, trash } = this.#names
    const [rows, properties] = await Promise.all([
      this.#command.list(pool, ['name'], { types: 'filesystem,volume', depth: 1 }),
      this.#command.get(pool, ['all'], { depth: 1, local: true }),
    ])
    const records: DatasetRecord[] = []
    const foreign: string[] = []
    for (const [dataset = ''] of rows ?? []) {
      if (dataset === pool || dataset === trash) continue
      const name = dataset.slice(pool.length + 1)
      const record = isId(name) ? understood(volumeId(name), properties?.get(dataset)) : null
      if (record === null || 'problem' in record) foreign.push(name)
      else records.push(record)
    }
    return { records, foreign }
  }

  async read(id: VolumeId): Promise<DatasetRecord | null> {
    const dataset = this.#names.volume(id)
    const properties = (await this.#command.get(dataset, ['all'], { local: true }))?.get(dataset)
    const record = understood(id, properties)
    if (record === null || !('problem' in record)) return record
    throw new DroverError('DATASET_FOREIGN', `${dataset} ${record.problem}; it is left alone`)
  }

  async write(record: DatasetRecord): Promise<void> {
    const dataset = this.#names.volume(record.volumeId)
    const properties = encodeRecord(record)
    // Nearly always it is there.
    if (await isOurs(this.#command, dataset)) return this.#command.set(dataset, properties)
    if (await this.#command.create(dataset, { ...home(record.volumeId), ...properties })) return
    throw foreign(dataset)
  }
}

/** It carries Drover's mark itself. */
const isOurs = async (command: ZfsCommand, dataset: string): Promise<boolean> =>
  (await command.get(dataset, ['drover:volume'], { local: true }))?.get(dataset)?.get('drover:volume') !== undefined

/** @throws DATASET_FOREIGN */
export const refuseForeign = async (command: ZfsCommand, dataset: string): Promise<void> => {
  if (!(await isOurs(command, dataset))) throw foreign(dataset)
}

const foreign = (dataset: string): DroverError =>
  new DroverError('DATASET_FOREIGN', `${dataset} is not Drover's and is left alone; rename it, or use another pool`)

export const encodeRecord = (record: DatasetRecord): Record<string, string> => {
  // A value is bytes to ZFS; in plain ASCII no program between us and it can take it for something else.
  const text = JSON.stringify(record).replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
  const parts = text.match(new RegExp(`.{1,${partBytes}}`, 'g')) ?? []
  return {
    [head]: `${record.formatVersion}:${parts.length}:${digestOf(text)}`,
    ...Object.fromEntries(parts.map((part, index) => [`${head}-${index}`, part])),
  }
}

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 32)

type Understood = DatasetRecord | { readonly problem: string } | null

/** Null: there is no record. */
export const understood = (id: VolumeId, properties: ReadonlyMap<string, string> | undefined): Understood => {
  const told = properties?.get(head)
  if (properties === undefined || told === undefined) return null
  const [, format, count, digest] = /^(\d+):(\d+):([0-9a-f]{32})$/.exec(told) ?? []
  if (format !== undefined && format !== '1') return { problem: `has format ${format}, newer than this vold knows` }
  if (format === undefined) return { problem: `has a property ${head} that is not understood` }
  const parts = Array.from({ length: Number(count) }, (_, index) => properties.get(`${head}-${index}`))
  const text = parts.join('')
  if (parts.includes(undefined) || digestOf(text) !== digest) return { problem: 'has a record that is not whole' }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { problem: 'has a record that is not readable' }
  }
  return isRecord(value) && value.volumeId === id ? value : { problem: 'has a record that is not of this volume' }
}
